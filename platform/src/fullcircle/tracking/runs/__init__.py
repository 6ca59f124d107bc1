"""MLflow runs: start, resume, write, look up, and read back."""
