"""SQLite, read through APSW: a file opened read-only under an authoriser."""
