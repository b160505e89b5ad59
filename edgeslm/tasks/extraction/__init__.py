"""Extraction by a language model: prompt, grounding, evidence."""
