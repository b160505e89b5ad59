"""What a bench measures, one module for each part."""
