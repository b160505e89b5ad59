"""LoRA adapters of language models: rows, forward and backward, rounding."""
