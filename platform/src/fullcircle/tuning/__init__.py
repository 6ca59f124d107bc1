"""The search for parameters: studies and their pictures. Optuna lives here alone."""
