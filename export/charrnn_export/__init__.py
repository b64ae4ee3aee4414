"""Write the step of a character model as ONNX and TFLite, checked against the model it was made from."""
