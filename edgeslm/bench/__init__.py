"""`edgeslm bench`: how long tasks take on this machine, and proof that the answers were right."""
