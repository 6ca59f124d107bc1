"""The data version behind each registered model version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.settings import Settings

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import DataVersion
    from fullcircle.core.records.releases import ModelVersion
    from fullcircle.tracking.reader.mlflow_reader import MlflowReader
    from fullcircle.tracking.reader.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class ModelDataVersion:
    """A model version and what it learned from.

    Attributes:
        digest: of the data version; "" where nobody knows.
        rows, first, last: how many, and their first and last day, as text; "" where nobody knows.
        data: the data version itself, where it was asked for and some run still keeps it.
    """

    version: str
    run_id: str
    digest: str
    rows: str
    first: str
    last: str
    data: DataVersion | None = None


def data_of_versions(settings: Settings, project: str, *, whole: bool = False) -> tuple[ModelDataVersion, ...]:
    """Newest version first. How often MLflow is asked does not depend on how many runs there are.

    Args:
        whole: with the data versions themselves: one artifact is read for each, from a server only the first time.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    from fullcircle.tracking.reader.open_reader import open_reader
    from fullcircle.tracking.reader.run_query import RunQuery
    from fullcircle.tracking.runs.run_schema import DATA_DIGEST

    reader = open_reader(settings)
    versions = reader.versions(project)
    runs = {run.run_id: run for run in reader.list_runs(RunQuery(ids=frozenset(each.run_id for each in versions)))}
    digests = {
        each.version: each.tags.get(DATA_DIGEST) or (runs[each.run_id].data_digest if each.run_id in runs else "")
        for each in versions
    }
    recorded = {each.version: _recorded(runs.get(each.run_id), digests[each.version]) for each in versions}
    # What a run does not tell in its tags is read from what it keeps.
    unread = [each for each in versions if whole or not recorded[each.version]]
    kept = _kept(reader, project, unread, digests, runs)
    return tuple(
        _listed(each, digests[each.version], recorded[each.version], kept.get(digests[each.version]))
        for each in versions
    )


def _recorded(run: RunRecord | None, digest: str) -> tuple[str, ...]:
    """Rows, first and last day, as the run's tags say; () when they do not."""
    from fullcircle.tracking.reader.run_query import ROWS

    for names in ROWS:
        if run is not None and run.data_digest == digest and all(run.tags.get(name) for name in names):
            rows, *days = (run.tags[name] for name in names)
            return (f"{int(rows):,}" if rows.isdecimal() else rows, *(day[:10] for day in days))
    return ()


def _listed(
    version: ModelVersion, digest: str, recorded: tuple[str, ...], data: DataVersion | None
) -> ModelDataVersion:
    if not recorded and data is not None:
        recorded = (f"{data.rows:,}", f"{data.start:%Y-%m-%d}", f"{data.end:%Y-%m-%d}")
    rows, first, last = recorded or ("", "", "")
    return ModelDataVersion(
        version=version.version, run_id=version.run_id, digest=digest, rows=rows, first=first, last=last, data=data
    )


def _kept(
    reader: MlflowReader,
    project: str,
    versions: Sequence[ModelVersion],
    digests: Mapping[str, str],
    runs: Mapping[str, RunRecord],
) -> dict[str, DataVersion | None]:
    """Each data version once: from a run of its own, or from whichever still keeps it."""
    found: dict[str, DataVersion | None] = {}
    for each in versions:
        digest = digests[each.version]
        if digest and found.get(digest) is None and each.run_id in runs:
            found[digest] = reader.data_version(digest, [runs[each.run_id]])
    lost = {digests[each.version] for each in versions if found.get(digests[each.version]) is None} - {""}
    for digest, holders in reader.holders(lost, project).items() if lost else ():
        found[digest] = reader.data_version(digest, holders)
    return found
