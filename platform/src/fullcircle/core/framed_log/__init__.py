"""Append-only logs of checksummed frames: the format, the reader and the writer."""
