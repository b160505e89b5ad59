"""What a bench asks: inputs of the card, invented texts, synthetic models."""
