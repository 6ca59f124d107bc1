"""Reads runs and model versions straight from MLflow's SQLite file, if its schema is one that we know.

Read only, and never while MLflow would have to change the tables first. Who upgrades MLflow to one with other tables
gets the slower way until its revision stands here; a contract test holds both ways against each other.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import translated
from fullcircle.tracking.reader.mlflow_reader import MlflowReader
from fullcircle.tracking.reader.records import RegisteredModel, RunRecord, run_record, version_record
from fullcircle.tracking.reader.run_query import LISTED, PARENT, RunQuery, matching
from fullcircle.tracking.runs.run_schema import DIGEST
from fullcircle.tracking.runs.run_tags import DATA, names

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
_MODEL = "SELECT 1 FROM registered_models WHERE workspace = ? AND name = ?"
_MODEL_TAGS = "SELECT key, value FROM registered_model_tags WHERE workspace = ? AND name = ?"
_MODEL_ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ?"
_VERSIONS = """SELECT version, run_id, creation_time FROM model_versions
    WHERE workspace = ? AND name = ? AND current_stage <> ?"""
_VERSIONS_TAGS = "SELECT version, key, value FROM model_version_tags WHERE workspace = ? AND name = ?"
_COPIES = """SELECT version FROM model_versions
    WHERE workspace = ? AND name = ? AND current_stage <> ? AND source LIKE 'models:/%'"""
_LISTED = """SELECT run_uuid, experiment_id, name, status, lifecycle_stage, start_time, end_time, artifact_uri
    FROM runs WHERE run_uuid IN (SELECT value FROM json_each(?))"""
_LISTED_TAGS = """SELECT run_uuid, key, value FROM tags
    WHERE key IN (SELECT value FROM json_each(?)) AND run_uuid IN (SELECT value FROM json_each(?))"""
_BY_TAG = """SELECT run_uuid FROM tags
    WHERE key IN (SELECT value FROM json_each(?)) AND value IN (SELECT value FROM json_each(?))"""
_WITH_TAG = """SELECT run_uuid FROM tags
    WHERE key IN (SELECT value FROM json_each(?)) AND substr(value, 1, ?) = ?"""
_VALUES = "SELECT DISTINCT value FROM tags WHERE key IN (SELECT value FROM json_each(?))"
_BY_ID = "SELECT run_uuid FROM runs WHERE substr(run_uuid, 1, ?) = ?"
_BY_NAME = "SELECT run_uuid FROM runs WHERE name = ?"
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


class SqliteReader(MlflowReader):
    """As `MlflowReader`, whose slower way it goes for what is asked seldom.

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

    def list_runs(self, wanted: RunQuery) -> tuple[RunRecord, ...]:
        """The runs that are asked for, newest first, as they stand in a list: see `wanted`."""
        with translated(self._settings, "listing runs"):
            ids = set(wanted.ids)
            for keys, values in (((PARENT,), wanted.parents), (names(DATA), wanted.data)):
                if values:
                    ids |= self._first(_BY_TAG, json.dumps(keys), json.dumps(sorted(values)))
            if wanted.begins:
                ids |= self._first(_BY_ID, len(wanted.begins), wanted.begins)
            if wanted.data_begins:
                ids |= self._first(_WITH_TAG, json.dumps(names(DATA)), len(wanted.data_begins), wanted.data_begins)
            if wanted.name:
                ids |= self._first(_BY_NAME, wanted.name)
            return matching(self._runs(ids), wanted)

    def holders(self, digests: Collection[str] = (), project: str | None = None) -> Mapping[str, tuple[RunRecord, ...]]:
        """Data version -> the runs that learned from it, newest first; of these versions, or of all that there are."""
        if not digests:
            with translated(self._settings, "listing data versions"):
                digests = self._first(_VALUES, json.dumps(names(DATA)))
        return super().holders(digests, project) if digests else {}

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All registered versions, newest first; empty when the model does not exist."""
        key = (_DEFAULT_WORKSPACE, name)
        with translated(self._settings, f"listing the versions of {name}"):
            tags: dict[str, dict[str, str]] = {}
            for number, tag, value in self._rows(_VERSIONS_TAGS, *key):
                tags.setdefault(str(number), {})[tag] = value
            aliases: dict[str, list[str]] = {}
            for alias, number in self._rows(_MODEL_ALIASES, *key):
                aliases.setdefault(str(number), []).append(alias)
            found = [
                version_record(
                    name=name,
                    version=str(number),
                    run_id=run_id,
                    created_ms=created,
                    aliases=aliases.get(str(number), ()),
                    tags=tags.get(str(number), {}),
                )
                for number, run_id, created in self._rows(_VERSIONS, *key, _DELETED)
            ]
        return tuple(sorted(found, key=lambda each: -int(each.version)))

    def model(self, name: str) -> RegisteredModel | None:
        """The registered model's aliases and tags; None when there is none."""
        key = (_DEFAULT_WORKSPACE, name)
        with translated(self._settings, f"reading the registered model {name}"):
            if not self._rows(_MODEL, *key):
                return None
            aliases = {alias: str(number) for alias, number in self._rows(_MODEL_ALIASES, *key)}
            return RegisteredModel(aliases=aliases, tags=dict(self._rows(_MODEL_TAGS, *key)))

    def copies(self, name: str) -> tuple[str, ...]:
        """Numbers of the versions that MLflow copied from another model's, the oldest first."""
        with translated(self._settings, f"looking for copies among the versions of {name}"):
            found = self._first(_COPIES, _DEFAULT_WORKSPACE, name, _DELETED)
        return tuple(str(number) for number in sorted(found, key=int))

    def _runs(self, ids: Collection[str]) -> Iterator[RunRecord]:
        asked = json.dumps(sorted(ids))
        tags: dict[str, dict[str, str]] = {}
        for run_id, key, value in self._rows(_LISTED_TAGS, json.dumps(LISTED), asked):
            tags.setdefault(run_id, {})[key] = value
        for run_id, experiment, name, status, stage, started, ended, artifacts in self._rows(_LISTED, asked):
            yield run_record(
                run_id=run_id,
                experiment_id=str(experiment),
                name=name,
                status=status,
                stage=stage,
                started_ms=started,
                ended_ms=ended,
                artifacts=artifacts,
                tags=tags.get(run_id, {}),
                params={},
            )

    def _first(self, statement: str, *values: str | int) -> set[str]:
        return {row[0] for row in self._rows(statement, *values)}

    def run_of_graph(self, digest: str) -> RunRecord | None:
        """The run that registered a graph with this digest, whether or not its version is still registered."""
        with translated(self._settings, f"looking for the run of the graph {digest[:12]}"):
            found = self._rows(_GRAPH, DIGEST, digest)
        return self.run(found[0][0]) if found and found[0][0] else None

    def _rows(self, statement: str, *values: str | int) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()


def _connected(file: Path) -> sqlite3.Connection:
    # Whoever holds one may be called from several threads, one at a time; SQLite itself serialises them.
    address = f"file:{quote(str(file))}?mode=ro"
    return sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
