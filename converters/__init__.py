"""The training side: examples become one proven specialist file. Run as `python -m converters`."""
