"""Monitoring of one window of predictions: drift, data quality, realised performance, report, incidents."""
