"""Masks as pictures, in files and in a terminal."""
