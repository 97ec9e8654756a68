"""Interactive Emotional Dyadic Motion Capture database."""
