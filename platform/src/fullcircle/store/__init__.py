"""The platform's own database tables: decisions, releases, ledger, windows, incidents, leases and the outbox of
pages."""
