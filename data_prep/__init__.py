"""From corpora on disk to shards: TFDS builders and the command that runs them."""
