"""MSP-IMPROV corpus."""
