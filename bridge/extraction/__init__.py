"""Reading systems that have no change log: pages of rows, compared with what was read before, within a budget."""
