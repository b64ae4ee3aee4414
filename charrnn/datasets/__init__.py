"""From files to training, validation and test splits, and from splits to batches of tokens."""
