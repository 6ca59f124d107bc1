"""MLflow client side: runs, model registry, metric spool, run provenance, secret scanning."""
