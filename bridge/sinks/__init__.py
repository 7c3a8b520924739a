"""Adapters that deliver events, one module a kind."""
