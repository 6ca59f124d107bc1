"""Lineage: backwards from a prediction to its origins, forwards from data, a run or a model version."""
