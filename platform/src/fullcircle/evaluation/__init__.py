"""Judging a model: metrics with intervals, slices, and the gate's three verdicts."""
