"""MSP-Podcast corpus."""
