"""Adapters that read legacy systems, one folder or module a kind."""
