"""A new project: a commented project.py, a small generated data set with a real drift, and a README."""
