"""Metrics with their intervals, and the tests that verdicts rest on. Pure."""
