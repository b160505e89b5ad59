"""JSON Schema or a pydantic class becomes a closed schema with a certificate. Imports errors alone."""
