"""Several models, each asked where those before it are not sure, with a proven risk."""
