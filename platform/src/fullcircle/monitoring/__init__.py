"""Watching one window of predictions: drift, data quality, realised performance, the report and the incidents."""
