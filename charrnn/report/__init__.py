"""The report of a run: plots and one HTML page."""
