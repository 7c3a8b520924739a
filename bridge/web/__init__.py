"""HTTP: what the daemon answers, and the thread that answers it."""
