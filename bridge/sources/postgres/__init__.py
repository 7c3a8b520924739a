"""The native PostgreSQL source: change log, snapshot, and the guard of its slot."""
