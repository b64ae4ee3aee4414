"""The run directory: its configuration, checkpoints and results."""
