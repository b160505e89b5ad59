"""What machine a bench ran on: facts, limits, sensors."""
