"""A legacy system to bridge: a distributor's ERP on PostgreSQL, its working day, and the proof of what it did."""
