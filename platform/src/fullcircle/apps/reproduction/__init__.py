"""Reproduction: trains a finished run again from what it recorded, and compares the results."""
