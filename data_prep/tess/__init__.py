"""Toronto Emotional Speech Set."""
