"""Systems that offer HTTP only: lists of records, read by GET and nothing else."""
