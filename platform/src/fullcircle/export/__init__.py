"""Export: preprocessing and model as one ONNX graph from raw row to probability, and what that graph costs."""
