"""Where a prediction came from, and what came from a data version, a run or a model version."""
