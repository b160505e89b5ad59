"""Documents: PDFs, pictures, mails and pages of the web, read as text and its places."""
