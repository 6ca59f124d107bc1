"""One training in one MLflow run: preflight checks, running it, its fingerprint, TensorBoard."""
