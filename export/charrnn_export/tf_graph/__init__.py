"""The step and the generator as TensorFlow graphs, the input of the converters."""
