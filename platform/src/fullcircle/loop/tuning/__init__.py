"""A search for parameters: a study and its trials."""
