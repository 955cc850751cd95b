"""The report of a run: charts, pictures, one HTML page."""
