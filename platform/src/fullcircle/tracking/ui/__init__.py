"""Links into the MLflow UI, and what a reviewer sees there first."""
