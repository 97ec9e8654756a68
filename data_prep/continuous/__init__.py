"""Long recordings made of acted utterances; see README.md."""
