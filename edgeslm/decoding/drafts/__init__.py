"""What is guessed ahead and verified in one batch: drafts and their length."""
