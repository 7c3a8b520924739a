"""Ways of telling somebody of an alarm, and of giving a sign of life; each knows one outside service."""
