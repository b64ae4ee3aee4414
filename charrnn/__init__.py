"""Train character-level language models with Keras and export their step; importing this loads no TensorFlow."""
