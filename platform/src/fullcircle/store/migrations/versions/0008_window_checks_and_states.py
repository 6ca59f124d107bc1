"""WindowChecks, from which incidents follow, with states and one page a cause; and decisions that know their facts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables and columns. Of incidents from before each is its own page, which was sent."""
    op.create_table(
        "window_checks",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("start", TIME, nullable=False),
        sa.Column("end", TIME, nullable=False),
        sa.Column("champion", sa.String(63), nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("labelled", sa.Integer, nullable=False),
        sa.Column("quiet", sa.Boolean, nullable=False),
        sa.Column("faults", sa.JSON, nullable=False),
        sa.Column("subjects", sa.JSON, nullable=False),
        sa.Column("unknown", sa.JSON, nullable=False),
        sa.Column("recorded", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_window_checks"),
    )
    op.create_index("ix_window_checks_project_end", "window_checks", ["project", "end"])
    op.create_table(
        "incident_actions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("incident", sa.Integer, nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("until", TIME, nullable=True),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("identity", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_incident_actions"),
        sa.ForeignKeyConstraint(["incident"], ["incidents.id"], name="fk_incident_actions_incident"),
    )
    op.create_index("ix_incident_actions_project", "incident_actions", ["project"])
    for column in (
        sa.Column("subject", sa.Text, nullable=False, server_default=""),
        sa.Column("healthy", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lead", sa.Integer, nullable=True),
        sa.Column("told", sa.String(16), nullable=True),
        sa.Column("merged", sa.Integer, nullable=True),
        sa.Column("acknowledged", sa.JSON, nullable=True),
        sa.Column("silenced", TIME, nullable=True),
    ):
        op.add_column("incidents", column)
    op.execute("UPDATE incidents SET lead = id, told = CASE WHEN resolved IS NULL THEN severity ELSE 'resolved' END")
    op.add_column("decisions", sa.Column("facts", sa.String(64), nullable=False, server_default=""))
    with op.batch_alter_table("decisions") as table:
        table.drop_constraint("uq_decisions_project_window", type_="unique")
        table.create_unique_constraint("uq_decisions_project_window_facts", ["project", "window", "facts"])
