"""Export: preprocessing and model as one ONNX graph from raw row to answers, and what that graph costs."""
