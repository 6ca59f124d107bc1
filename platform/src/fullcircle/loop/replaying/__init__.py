"""A year lived through again month by month, and the report of it."""
