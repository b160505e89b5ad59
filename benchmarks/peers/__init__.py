"""Other libraries that decode under a JSON Schema, each in a process and environment of its own."""
