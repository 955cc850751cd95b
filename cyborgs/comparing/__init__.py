"""Runs side by side: whether they compare, and tables and charts of all of them."""
