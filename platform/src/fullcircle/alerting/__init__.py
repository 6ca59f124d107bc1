"""Alerting: pages to on-call, each delivered exactly once."""
