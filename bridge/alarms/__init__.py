"""The loop that tells people: it looks, judges, keeps what it decided, and tells until it is heard."""
