"""Reading databases through views: SQL in files, checked, read in pages by sessions that can do no harm."""
