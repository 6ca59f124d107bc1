"""Hyperparameter tuning: studies and their trials. Optuna lives here alone."""
