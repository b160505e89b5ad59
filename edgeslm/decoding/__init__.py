"""A prompt, a grammar and a session: how tokens are decoded, and how labels are scored."""
