"""The step and the generator as TensorFlow graphs, which the converters read."""
