"""RECOLA: remote collaborative and affective interactions."""
