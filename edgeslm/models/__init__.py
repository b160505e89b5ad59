"""A name or a path becomes a loaded model."""
