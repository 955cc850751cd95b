"""Data sets of evaluations, read as their own lists say."""
