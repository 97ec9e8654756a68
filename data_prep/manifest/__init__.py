"""Anyone's own recordings, in a table."""
