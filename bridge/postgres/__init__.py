"""What every way of reading a PostgreSQL shares: guarded sessions, rights, types and the decoding of values."""
