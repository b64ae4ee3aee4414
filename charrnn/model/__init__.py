"""The Keras model, its fast computation over batches, and its parameters as flat vectors."""
