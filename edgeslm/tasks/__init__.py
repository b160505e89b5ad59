"""What a model is asked: extraction, classification, and how sure an answer is."""
