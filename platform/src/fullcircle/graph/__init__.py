"""The one ONNX graph at run time: raw rows in, probabilities out, the same for serving, gates, SHAP and parity."""
