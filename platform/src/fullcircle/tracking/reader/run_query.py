"""Run queries by id, parent, data version or name, as filters of MLflow's search. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fullcircle.tracking.reader.records import RunRecord
from fullcircle.tracking.runs.run_tags import DATA, KIND, PROJECT, filters, names
from fullcircle.tracking.runs.run_tags import ROWS as ROWS_TAG
from fullcircle.tracking.ui.review import FROM, UNTIL

PARENT = "mlflow.parentRunId"
ROWS = ((ROWS_TAG, FROM, UNTIL), ("fullcircle.data.rows", "fullcircle.data.start", "fullcircle.data.end"))
"""Tags: rows, first day and last day of the data version; then as earlier versions of the platform wrote them."""
LISTED = (PROJECT, KIND, PARENT, *names(DATA), *names(ROWS_TAG), FROM, UNTIL, *ROWS[1])
"""The tags that a run in a list has; the rest, and its parameters, are left out: thousands of runs may be listed."""
AT_ONCE = 100
"""So many ids stand in one filter."""


@dataclass(frozen=True, kw_only=True)
class RunQuery:
    """Runs of the platform's projects that fit any of these; those in the trash as well.

    Attributes:
        ids: their own.
        parents: ids of runs that they are under.
        data: digests of the data versions that they learned from.
        begins: the beginning of their id, in hexadecimal digits; "" for none.
        data_begins: the beginning of their data version's digest; "" for none.
        name: their whole name; "" for none.
        project: only of this one; None: of all.
    """

    ids: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()
    begins: str = ""
    data_begins: str = ""
    name: str = ""
    project: str | None = None

    def fits(self, run: RunRecord) -> bool:
        """Whether a run is asked for."""
        of = bool(run.project) if self.project is None else run.project == self.project
        return of and (
            run.run_id in self.ids
            or run.parent in self.parents
            or run.data_digest in self.data
            or bool(self.begins and run.run_id.startswith(self.begins))
            or bool(self.data_begins and run.data_digest.startswith(self.data_begins))
            or bool(self.name and run.name == self.name)
        )

    def filters(self) -> Iterator[str]:
        """Filters of MLflow's search, which together find at least what fits. How many there are depends on what is
        asked for, and not on how many runs there are."""
        of = f" and tags.`{PROJECT}` = '{self.project}'" if self.project is not None else ""
        for ids in _chunks(self.ids):
            yield f"attributes.run_id IN ({ids}){of}"
        for parent in sorted(self.parents):
            yield f"tags.`{PARENT}` = '{parent}'{of}"
        # Of tags MLflow knows no IN; the same digest is also that of the dataset that the run logged.
        for digests in _chunks(self.data):
            if "," in digests:
                yield f"dataset.digest IN ({digests}){of}"
            else:
                yield from (f"{each}{of}" for each in filters(DATA, f"= {digests}"))
        if self.begins:
            yield f"attributes.run_id LIKE '{self.begins}%'{of}"
        if self.data_begins:
            yield from (f"{each}{of}" for each in filters(DATA, f"LIKE '{self.data_begins}%'"))
        if self.name and not ("'" in self.name and '"' in self.name):
            quote = '"' if "'" in self.name else "'"
            yield f"attributes.run_name = {quote}{self.name}{quote}{of}"


def matching(runs: Iterable[RunRecord], wanted: RunQuery) -> tuple[RunRecord, ...]:
    """Those that are wanted, each once, the newest first, with the tags of a list alone."""
    found = {run.run_id: brief(run) for run in runs if wanted.fits(run)}
    return tuple(sorted(found.values(), key=lambda run: (-run.started.timestamp(), run.run_id)))


def brief(run: RunRecord) -> RunRecord:
    """A run as it stands in a list."""
    return replace(run, tags={key: run.tags[key] for key in LISTED if key in run.tags}, params={})


def _chunks(values: Iterable[str]) -> Iterator[str]:
    """The values, quoted, some at a time. Those that no filter can hold are none of the platform's."""
    sound = sorted(value for value in values if value and "'" not in value)
    for at in range(0, len(sound), AT_ONCE):
        yield ",".join(f"'{value}'" for value in sound[at : at + AT_ONCE])
