"""The tables, as they are after the newest migration. Times are stored as UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""The revisions of migrations/versions, oldest first; a database that says another one is newer than this code."""


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC. SQLite keeps no time zone, so it is put back on when reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC. A naive datetime is a mistake of the caller: ValueError."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time must say its zone, got the naive {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """To an aware datetime in UTC."""
        if value is None:
            return None
        assert isinstance(value, datetime)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project", String(63), nullable=False),
    Column("window", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("target", String(63), nullable=True),
    Column("at", UtcTime, nullable=False),
    Column("recorded", UtcTime, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("identity", JSON, nullable=True),
    # What it rests on: looked at with other facts, a window is decided on again.
    Column("facts", String(64), nullable=False, default=""),
    UniqueConstraint("project", "window", "facts"),
)

releases = Table(
    "releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project", String(63), nullable=False),
    Column("version", String(63), nullable=False),
    Column("previous", String(63), nullable=True),
    Column("at", UtcTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("begun", UtcTime, nullable=False),
    Column("ended", UtcTime, nullable=True),
    Column("action", String(16), nullable=False),
    Column("data_until", UtcTime, nullable=True),
    Column("identity", JSON, nullable=True),
    Index("ix_releases_project", "project"),
    Index(
        "one_pending_release",
        "project",
        unique=True,
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
)

ledger = Table(
    "ledger",
    metadata,
    # The key keeps two writers from following the same entry, on every database.
    Column("project", String(63), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("recorded", UtcTime, nullable=False),
    Column("action", String(16), nullable=False),
    Column("version", String(63), nullable=False),
    Column("previous", String(63), nullable=True),
    Column("who", String(255), nullable=False),
    Column("why", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("model_digest", String(128), nullable=False),
    Column("data_digest", String(128), nullable=False),
    Column("aliases", JSON, nullable=False),
    Column("format", Integer, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("data_until", UtcTime, nullable=True),
    Column("identity", JSON, nullable=True),
)

leases = Table(
    "leases",
    metadata,
    Column("resource", String(190), primary_key=True),
    # Of the newest holder. It only grows, and the row is never removed: no token is given out twice.
    Column("token", Integer, nullable=False),
    Column("beat", Integer, nullable=False),
    Column("held", Boolean, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("holder", JSON, nullable=False),
)

replays = Table(
    "replays",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("clock", UtcTime, nullable=False),
    Column("begun", UtcTime, nullable=False),
)

windows = Table(
    "windows",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("window", String(63), primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("row", JSON, nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(255), nullable=False),
    Column("project", String(63), nullable=False),
    Column("cause", String(63), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("seen", UtcTime, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("links", JSON, nullable=False),
    Column("resolved", UtcTime, nullable=True),
    Column("subject", Text, nullable=False, default=""),
    Column("healthy", Integer, nullable=False, default=0),
    Column("lead", Integer, nullable=True),
    Column("told", String(16), nullable=True),
    Column("merged", Integer, nullable=True),
    # None is NULL, not JSON's null, so that both databases tell "nobody" alike.
    Column("acknowledged", JSON(none_as_null=True), nullable=True),
    Column("silenced", UtcTime, nullable=True),
    Index("ix_incidents_project", "project"),
    Index(
        "one_open_incident",
        "key",
        unique=True,
        sqlite_where=text("resolved IS NULL"),
        postgresql_where=text("resolved IS NULL"),
    ),
)

window_checks = Table(
    "window_checks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project", String(63), nullable=False),
    Column("start", UtcTime, nullable=False),
    Column("end", UtcTime, nullable=False),
    Column("champion", String(63), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("labelled", Integer, nullable=False),
    Column("quiet", Boolean, nullable=False),
    Column("faults", JSON, nullable=False),
    Column("subjects", JSON, nullable=False),
    Column("unknown", JSON, nullable=False),
    Column("recorded", UtcTime, nullable=False),
    Index("ix_window_checks_project_end", "project", "end"),
)

incident_actions = Table(
    "incident_actions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident", Integer, ForeignKey("incidents.id"), nullable=False),
    Column("key", String(255), nullable=False),
    Column("project", String(63), nullable=False),
    Column("action", String(16), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("until", UtcTime, nullable=True),
    Column("why", Text, nullable=False),
    Column("identity", JSON, nullable=False),
    Index("ix_incident_actions_project", "project"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident", Integer, ForeignKey("incidents.id"), nullable=False),
    Column("route", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("page", JSON, nullable=False),
    Column("queued", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("delivered", UtcTime, nullable=True),
    UniqueConstraint("incident", "route", "kind"),
)

studies = Table(
    "studies",
    metadata,
    Column("study", String(190), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("entry", Text, nullable=False),
)

retrains = Table(
    "retrains",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("key", String(190), primary_key=True),
    Column("source", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("asked", UtcTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("counts", Boolean, nullable=False),
    Column("said", Text, nullable=False),
)
