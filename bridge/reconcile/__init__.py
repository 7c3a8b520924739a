"""Comparing a stream with what it speaks of: by key and field, while changes go on."""
