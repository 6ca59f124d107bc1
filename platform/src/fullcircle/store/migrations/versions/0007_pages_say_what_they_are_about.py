"""Stored pages say which incident they are about, and what became of it, for receivers that keep a state of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TIME = sa.DateTime(timezone=True)
incidents = sa.table(
    "incidents",
    *(sa.column(name, sa.String) for name in ("key", "project", "cause", "severity")),
    *(sa.column(name, TIME) for name in ("since", "seen", "resolved")),
    *(sa.column(name, sa.JSON) for name in ("evidence", "links")),
    sa.column("id", sa.Integer),
)
outbox = sa.table(
    "outbox",
    *(sa.column(name, sa.Integer) for name in ("id", "incident")),
    sa.column("kind", sa.String),
    sa.column("page", sa.JSON),
)


def upgrade() -> None:
    """Complete each page from its incident: those that wait are sent, and those that were are sent anew while open."""
    connection = op.get_bind()
    asked = sa.select(outbox.c.id.label("number"), outbox.c.kind, outbox.c.page, *incidents.c)
    for row in connection.execute(asked.join(incidents, incidents.c.id == outbox.c.incident)).mappings().all():
        page = {**row["page"], **{name: row[name] for name in ("key", "project", "cause", "severity")}}
        page |= {"kind": row["kind"], "links": row["links"], "details": row["evidence"]}
        page |= {"starts": _utc(row["since"]), "seen": _utc(row["seen"])}
        page["ends"] = _utc(row["resolved"]) if row["kind"] == "resolved" else None
        connection.execute(sa.update(outbox).where(outbox.c.id == row["number"]).values(page=page))


def _utc(time: Any) -> str | None:
    if time is None:
        return None
    assert isinstance(time, datetime)
    return (time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)).isoformat()
