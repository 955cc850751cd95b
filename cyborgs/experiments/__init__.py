"""Experiments: variants of a run, each with several seeds, side by side."""
