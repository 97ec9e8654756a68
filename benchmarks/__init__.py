"""Speed of this package, side by side with peers that compute the same."""
