"""Pictures of pages -> words: RapidOCR, and Tesseract where it is asked for."""
