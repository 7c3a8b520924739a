"""What systems send to us: JSON messages and CloudEvents, from how they come in to the columns of raw batches."""
