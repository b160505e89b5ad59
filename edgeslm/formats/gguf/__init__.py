"""GGUF files: their header, their card, adapters, merging and packing."""
