"""What a run found, in words, tables and a plot: docs/benchmarks.md."""
