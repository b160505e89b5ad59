"""A JSON Schema or a pydantic class becomes a closed schema. Imports errors alone."""
