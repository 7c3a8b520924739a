"""How each database is asked: one extractor a dialect."""
