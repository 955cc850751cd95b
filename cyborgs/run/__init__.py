"""A run: the names of its files, and the record of what made them."""
