"""Record types of the reader: a run, and a registered model version. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fullcircle.core.records.releases import ModelVersion
from fullcircle.tracking.runs.run_schema import DIGEST
from fullcircle.tracking.runs.run_tags import DATA, KIND, PROJECT, known
from fullcircle.tracking.ui.ui_links import run_page


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as MLflow has it.

    Attributes:
        deleted: it is in MLflow's trash, from which it can be restored.
        link: its page, relative to the address of the MLflow UI.
        artifacts: where its artifacts are, as a URI.
        tags: under the names of today, whichever version wrote them.
    """

    run_id: str
    name: str
    status: str
    deleted: bool
    started: datetime
    ended: datetime | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    link: str
    artifacts: str

    @property
    def project(self) -> str:
        """The project that it is of, "" when the platform did not start it."""
        return self.tags.get(PROJECT, "")

    @property
    def kind(self) -> str:
        """What it was for: `retrain`, `candidate`, `train`."""
        return self.tags.get(KIND, "")

    @property
    def parent(self) -> str:
        """The run that this one is under, "" when there is none."""
        return self.tags.get("mlflow.parentRunId", "")

    @property
    def data_digest(self) -> str:
        """The data version that it learned from, "" when it names none."""
        return self.tags.get(DATA, "")


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A registered model: alias -> number of the version that it names, and tags."""

    aliases: Mapping[str, str]
    tags: Mapping[str, str]


def run_record(
    *,
    run_id: str,
    experiment_id: str,
    name: str | None,
    status: str,
    stage: str,
    started_ms: int | None,
    ended_ms: int | None,
    artifacts: str | None,
    tags: Mapping[str, str],
    params: Mapping[str, str],
) -> RunRecord:
    """A run of MLflow's own fields; times in milliseconds since the epoch."""
    return RunRecord(
        run_id=run_id,
        name=name or "",
        status=status,
        deleted=stage == "deleted",
        started=_moment(started_ms or 0),
        ended=_moment(ended_ms) if ended_ms else None,
        tags=known(tags),
        params=params,
        link=run_page(experiment_id, run_id),
        artifacts=artifacts or "",
    )


def version_record(
    *, name: str, version: str, run_id: str | None, created_ms: int, aliases: Iterable[str], tags: Mapping[str, str]
) -> ModelVersion:
    """A model version of MLflow's own fields."""
    return ModelVersion(
        name=name,
        version=version,
        run_id=run_id or "",
        digest=tags.get(DIGEST, ""),
        aliases=tuple(sorted(aliases)),
        created=_moment(created_ms),
        tags=tags,
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
