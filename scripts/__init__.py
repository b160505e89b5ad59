"""The commands of development: demo, checks, pages of the documents."""
