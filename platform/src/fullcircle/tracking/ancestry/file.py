"""Reads runs and versions out of MLflow's SQLite file, where its tables are those that we know: without slow imports.

Read only, and never while MLflow would have to change the tables first. Who upgrades MLflow to one with other tables
gets the slower way until its revision stands here; a contract test holds both ways against each other.
"""

from __future__ import annotations

import contextlib
import sqlite3
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fullcircle.core.models import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.tracking.ancestry.client import Ancestry
from fullcircle.tracking.ancestry.record import RunRecord, run_record, version_record
from fullcircle.tracking.client import translated
from fullcircle.tracking.lineage import DIGEST

REVISIONS = ("dc11669786a5",)
"""Of MLflow's tables, as its table `alembic_version` names them: that of 3.17."""
BUSY_TIMEOUT_S = 30.0
_DEFAULT_WORKSPACE, _DELETED = "default", "Deleted_Internal"

_RUN = """SELECT experiment_id, name, status, lifecycle_stage, start_time, end_time, artifact_uri
    FROM runs WHERE run_uuid = ?"""
_RUN_TAGS = "SELECT key, value FROM tags WHERE run_uuid = ?"
_RUN_PARAMS = "SELECT key, value FROM params WHERE run_uuid = ?"
_VERSION = """SELECT run_id, creation_time FROM model_versions
    WHERE workspace = ? AND name = ? AND version = ? AND current_stage <> ?"""
_VERSION_TAGS = "SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ?"
_ALIASES = "SELECT alias FROM registered_model_aliases WHERE workspace = ? AND name = ? AND version = ?"
_GRAPH = """SELECT models.source_run_id FROM logged_model_tags AS tags
    JOIN logged_models AS models ON models.model_id = tags.model_id
    JOIN experiments ON experiments.experiment_id = models.experiment_id
    WHERE tags.tag_key = ? AND tags.tag_value = ?
    AND models.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
    ORDER BY models.creation_timestamp_ms DESC, models.model_id LIMIT 1"""


def readable(file: Path) -> bool:
    """Whether this file has the tables that are read here."""
    try:
        with contextlib.closing(_connected(file)) as connection:
            return connection.execute("SELECT version_num FROM alembic_version").fetchall() in [
                [(each,)] for each in REVISIONS
            ]
    except sqlite3.Error:
        return False


class OfFile(Ancestry):
    """As `Ancestry`, whose slower way it goes for what is asked seldom.

    Args:
        file: MLflow's, for which `readable` is true.
    """

    def __init__(self, settings: Settings, file: Path) -> None:
        super().__init__(settings)
        self._file = file

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        return _connected(self._file)

    def run(self, run_id: str) -> RunRecord | None:
        """The run with this id, also from the trash; None when there is none."""
        with translated(self._settings, f"reading run {run_id}"):
            found = self._rows(_RUN, run_id)
            if not found:
                return None
            experiment, name, status, stage, started, ended, artifacts = found[0]
            return run_record(
                run_id=run_id,
                experiment_id=str(experiment),
                name=name,
                status=status,
                stage=stage,
                started_ms=started,
                ended_ms=ended,
                artifacts=artifacts,
                tags=dict(self._rows(_RUN_TAGS, run_id)),
                params=dict(self._rows(_RUN_PARAMS, run_id)),
            )

    def version(self, name: str, number: str) -> ModelVersion | None:
        """The registered version with this number; None when there is none."""
        key = (_DEFAULT_WORKSPACE, name, number)
        with translated(self._settings, f"reading version {number} of {name}"):
            found = self._rows(_VERSION, *key, _DELETED)
            if not found:
                return None
            run_id, created = found[0]
            return version_record(
                name=name,
                version=number,
                run_id=run_id,
                created_ms=created,
                aliases=(alias for (alias,) in self._rows(_ALIASES, *key)),
                tags=dict(self._rows(_VERSION_TAGS, *key)),
            )

    def run_of_graph(self, digest: str) -> RunRecord | None:
        """The run that registered a graph with this digest, whether or not its version is still registered."""
        with translated(self._settings, f"looking for the run of the graph {digest[:12]}"):
            found = self._rows(_GRAPH, DIGEST, digest)
        return self.run(found[0][0]) if found and found[0][0] else None

    def _rows(self, statement: str, *values: str) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()


def _connected(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
