"""Configuration of the MLflow server: token authentication and the UI's preferences."""
