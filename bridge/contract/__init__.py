"""Contracts: what a stream's events must be, how legacy columns become their fields, and whether a batch obeys.

`document` reads the ODCS file, `expression` its SQL, `normalise` compiles that SQL to column expressions over `inputs`,
`checks` the rules to masks, and `compiled` judges batches with both. Pure logic: the one input is the file.
"""
