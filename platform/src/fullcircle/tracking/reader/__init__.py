"""Read access to MLflow's runs and model versions: through its client, its REST API, or its SQLite file."""
