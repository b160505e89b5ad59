"""What a bench shows: files, tables, charts, a page, a comparison."""
