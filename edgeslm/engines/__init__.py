"""The engines: each file here is the only one that imports its inference library."""
