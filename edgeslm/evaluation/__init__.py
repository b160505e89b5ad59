"""Answers held against gold: scores with intervals, self-tests, doctor."""
