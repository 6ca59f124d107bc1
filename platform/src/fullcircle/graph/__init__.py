"""The one ONNX graph at run time: raw rows in, answers out, the same for serving, gates, SHAP and parity."""
