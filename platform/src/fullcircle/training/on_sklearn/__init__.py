"""The baseline model: logistic regression, solved in one process."""
