"""The training loop, what it changes, and what it reports."""
