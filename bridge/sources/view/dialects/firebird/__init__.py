"""Firebird, read through its client library: rows as their messages lie in memory, decoded column by column."""
