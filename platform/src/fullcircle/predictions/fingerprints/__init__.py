"""Fingerprints of the log: mergeable summaries of each sealed segment, so that a window of any size is cheap."""
