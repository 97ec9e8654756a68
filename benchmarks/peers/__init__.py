"""The same networks and training step, as users of other libraries write them."""
