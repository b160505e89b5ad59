"""What is measured, one module for each command; python -m benchmarks.runs.NAME."""
