"""Backup and restore of a home as one file."""
