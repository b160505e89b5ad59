"""Encoders up to the trained model: base, tables, heads, training."""
