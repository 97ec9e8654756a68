"""Speech-like signals made from a seed."""
