"""What is measured on: receipts, invoices, intents, and the model files."""
