"""Training of readers: answers are aligned with units of their text, which learn to be them."""
