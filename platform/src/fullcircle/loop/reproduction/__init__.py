"""A finished training done again from what its run recorded."""
