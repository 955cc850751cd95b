"""The report of a run: figures, galleries, one HTML page."""
