"""How good masks are, where there is ground truth."""
