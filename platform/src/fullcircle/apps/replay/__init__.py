"""Replay: a past year lived through month by month, and the report of it."""
