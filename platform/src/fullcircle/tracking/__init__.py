"""MLflow: runs, the registry with its aliases, model cards, and where a run came from."""
