"""The champion ledger, which takes entries and lets none be changed; and what a release is called in it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table and its triggers. Releases until now were promotions, or rollbacks that nobody told apart."""
    op.add_column("releases", sa.Column("action", sa.String(16), nullable=False, server_default="promote"))
    op.create_table(
        "ledger",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("recorded", TIME, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("version", sa.String(63), nullable=False),
        sa.Column("previous", sa.String(63), nullable=True),
        sa.Column("who", sa.String(255), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("model_digest", sa.String(128), nullable=False),
        sa.Column("data_digest", sa.String(128), nullable=False),
        sa.Column("aliases", sa.JSON, nullable=False),
        sa.Column("format", sa.Integer, nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("project", "seq", name="pk_ledger"),
    )
    # Against accidents. Whoever drops the triggers and then edits is found by the chain.
    if op.get_context().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER ledger_no_{event.lower()} BEFORE {event} ON ledger "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
    elif op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger "
            "FOR EACH ROW EXECUTE FUNCTION ledger_append_only()"
        )
