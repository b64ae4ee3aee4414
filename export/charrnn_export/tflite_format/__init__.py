"""Conversion to TFLite: the converter, and the flatbuffer that it writes."""
