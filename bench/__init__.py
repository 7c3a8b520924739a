"""Claims about speed, each measured beside its limit and its peer in the same run.

Run from the repository with ``python -m bench``; needs the `bench` extra. Nothing of the package imports this.
"""
