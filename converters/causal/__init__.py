"""Language models: the base, its export, quantization and parity."""
