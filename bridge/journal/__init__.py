"""The durable, ordered event log."""
