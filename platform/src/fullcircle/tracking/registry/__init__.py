"""The MLflow model registry: model versions and aliases, model cards, signatures, the ledger's head."""
