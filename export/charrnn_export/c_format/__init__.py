"""Export to plain C: the sources of the code, and the header with the weights."""
