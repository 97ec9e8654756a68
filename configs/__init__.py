"""Configurations: ``default`` holds every key, the others start from it."""
