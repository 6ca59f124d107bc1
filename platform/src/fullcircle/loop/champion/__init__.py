"""Who serves: releases, approvals and rollbacks, and the ledger in which each is written down."""
