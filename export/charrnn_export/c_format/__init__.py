"""Export to plain C."""
