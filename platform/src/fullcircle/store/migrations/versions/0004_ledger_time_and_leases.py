"""Ledger time beside the time of the data; leases with fencing tokens; and which ledgers are a replay's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns and tables. No entry of a ledger is touched: what it is chained by stays as it was written."""
    op.add_column("ledger", sa.Column("data_until", TIME, nullable=True))
    op.add_column("releases", sa.Column("data_until", TIME, nullable=True))
    op.create_table(
        "leases",
        sa.Column("resource", sa.String(190), nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("beat", sa.Integer, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("holder", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("resource", name="pk_leases"),
    )
    op.create_table(
        "replays",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("clock", TIME, nullable=False),
        sa.Column("begun", TIME, nullable=False),
        sa.PrimaryKeyConstraint("project", name="pk_replays"),
    )
    # Until now a replay was known by who had decided its releases, and it wrote the time of the data into `at`.
    op.execute("UPDATE releases SET data_until = at WHERE decided_by = 'replay'")
    op.execute(
        "INSERT INTO replays (project, clock, begun) "
        "SELECT project, max(at), min(begun) FROM releases WHERE decided_by = 'replay' GROUP BY project"
    )
    op.execute(
        "UPDATE replays SET clock = (SELECT max(at) FROM windows WHERE windows.project = replays.project) "
        "WHERE clock < (SELECT max(at) FROM windows WHERE windows.project = replays.project)"
    )
