"""What lies on disk: cards, texts, small files, and the file formats below. Imports no engine."""
