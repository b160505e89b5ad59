"""What runs found, as plain data that the repository keeps as JSON."""
