"""Export to TFLite."""
