"""Conversion to ONNX: the step, its lower precisions, and the generator around it."""
