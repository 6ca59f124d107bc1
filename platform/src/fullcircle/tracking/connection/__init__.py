"""The connection to MLflow: client, REST API, credentials, connectivity probe, moved homes."""
