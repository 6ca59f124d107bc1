"""What MLflow still knows of runs and versions, read through its client, from its server, or out of its SQLite file."""
