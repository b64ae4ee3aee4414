"""From logits to samples."""
