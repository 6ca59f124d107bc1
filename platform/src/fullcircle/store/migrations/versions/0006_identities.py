"""Who decided, as far as the system knows it, beside the name that was given."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns. No entry of a ledger is touched: of those from before, nobody knows more than they say."""
    for table in ("ledger", "releases", "decisions"):
        op.add_column(table, sa.Column("identity", sa.JSON, nullable=True))
