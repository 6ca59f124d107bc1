"""Promotion: releases, approvals and rollbacks of model versions, and the ledger that records them."""
