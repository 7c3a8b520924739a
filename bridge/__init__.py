"""The legacy bridge: systems nobody can change, as contract-checked event streams that lose nothing."""

__version__ = "0.1.0"
