"""The platform's own few tables: decisions, releases, windows, incidents and the outbox of pages."""
