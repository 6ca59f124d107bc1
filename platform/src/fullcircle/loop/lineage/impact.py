"""Forward lineage (impact analysis): all that came from a data version, a data file, a run or a model version."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import UsageError
from fullcircle.core.records.lineage_trace import Affected, AffectedRun, Impact, champion_periods
from fullcircle.loop.clock import is_replayed
from fullcircle.loop.workspace import Workspace
from fullcircle.predictions.prediction_counts import prediction_counts
from fullcircle.tracking.reader.open_reader import open_reader
from fullcircle.tracking.reader.run_query import RunQuery
from fullcircle.tracking.runs.run_schema import DATA_DIGEST

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import DataVersion
    from fullcircle.core.records.ledger_entries import Entry
    from fullcircle.core.records.releases import ModelVersion
    from fullcircle.predictions.prediction_counts import PredictionCounts
    from fullcircle.tracking.reader.records import RunRecord

SHORTEST_BEGINNING = 6
"""Characters of a digest or an id that name it."""
NEAR = 1000
"""So many of the newest runs and versions are looked at for what was probably meant."""
_VERSION = re.compile(r"([\w.-]+)[/:]([\w-]+)")
_FILE = re.compile(r"([\w.-]+)[:/](.+)")


@dataclass(frozen=True, kw_only=True)
class ImpactSource:
    """What was asked about: the data versions, runs and (project, version) that it names."""

    kind: str
    name: str
    data: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    version: tuple[str, str] | None = None


def impact(workspace: Workspace, what: str, *, project: str | None = None) -> Impact:
    """Every run, model version, release and logged prediction that came from `what`.

    Args:
        what: a data version (its digest or a beginning of it), a file of one (`flights:2013-04.parquet`, its name, or
            its MD5), a run (id, beginning of an id, or name), or a model version (`flights/3`, `flights:champion`).
        project: look at the runs of this project only; None: of all.

    Raises:
        UsageError: nothing is called so, with the nearest; or several things are.
        TrackingUnavailable: MLflow does not answer.
        DataUnavailable: a file of the prediction log is damaged.
    """
    known = Known(workspace, project)
    origin = known.named(what)
    runs = known.runs(ids=origin.runs, parents=origin.runs, data=origin.data)
    return Impact(
        kind=origin.kind,
        name=origin.name,
        data=tuple(sorted(origin.data)),
        runs=tuple(_seen(run) for run in runs),
        versions=tuple(known.affected(origin, runs)),
    )


class Known:
    """What MLflow, the ledgers and the prediction logs know; only what fits is asked for, however much there is."""

    def __init__(self, workspace: Workspace, project: str | None) -> None:
        self._workspace = workspace
        self._reader = open_reader(workspace.settings)
        self._project = project

    def runs(self, **wanted: Any) -> tuple[RunRecord, ...]:
        """The platform's runs that fit, newest first: see `reader.run_query.RunQuery`."""
        return self._reader.list_runs(RunQuery(**wanted, project=self._project))

    @cached_property
    def holders(self) -> Mapping[str, Sequence[RunRecord]]:
        """Digest -> the runs that keep that data version; every run is read for it, so once."""
        return self._reader.holders(project=self._project)

    @cached_property
    def data(self) -> Mapping[str, DataVersion]:
        """Digest -> data version, of those that a run still keeps."""
        found = {digest: self._reader.data_version(digest, runs) for digest, runs in self.holders.items()}
        return {digest: version for digest, version in found.items() if version is not None}

    def named(self, what: str) -> ImpactSource:
        """What is called so. Raises UsageError when nothing is, or several things are."""
        found = list(self._model(what)) or list(self._data_or_run(what)) or list(self._files(what))
        if len(found) == 1:
            return found[0]
        if found:
            hint = f"say which: {', '.join(f'{each.kind} {each.name}' for each in found[:5])}"
            raise UsageError(f"{what!r} names {len(found)} things", hint=hint)
        raise UsageError(
            f"no data version, file of one, run or model version is called {what!r}", hint=self._near(what)
        )

    def affected(self, origin: ImpactSource, runs: Iterable[RunRecord]) -> Iterator[Affected]:
        """The model versions that came from it, oldest first, also those that are no longer registered."""
        runs = list(runs)
        ids = {run.run_id for run in runs}
        names = {run.project for run in runs} | ({origin.version[0]} if origin.version else set())
        for name in sorted(names):
            entries, prediction_counts = self._ledger(name), self._answers(name)
            replayed = is_replayed(name, self._workspace)
            found: dict[tuple[str, str], Affected] = {}
            registered = self._reader.versions(name)
            for version in registered:
                if version.run_id in ids or (name, version.version) == origin.version:
                    found[version.version, version.digest] = _registered(version)
            elsewhere = [(entry.version, entry.model_digest, entry.data_digest) for entry in entries]
            elsewhere += [(each.model_version, each.model_digest, "") for each in prediction_counts]
            graphs = self._graphs(ids, registered, {digest for _, digest, _ in elsewhere})
            for number, digest, data in elsewhere:
                if digest in graphs or data in origin.data or (name, number) == origin.version:
                    found.setdefault((number, digest), _unregistered(name, number, digest, data))
            for key in sorted(found, key=lambda each: (len(each[0]), each)):
                yield _with_history(found[key], entries, prediction_counts, replayed)

    def _graphs(self, ids: set[str], registered: Iterable[ModelVersion], digests: set[str]) -> set[str]:
        """Those of the digests that are of these runs' graphs; for one of a deleted version, its run is asked for."""
        known = {version.digest for version in registered}
        found = {version.digest for version in registered if version.run_id in ids}
        for digest in sorted(each for each in digests if each and each not in known):
            run = self._reader.run_of_graph(digest)
            if run is not None and run.run_id in ids:
                found.add(digest)
        return found

    def _model(self, what: str) -> Iterator[ImpactSource]:
        """A version by number or alias; a number also when only the ledger or the log still knows it."""
        asked = _VERSION.fullmatch(what)
        if asked is None:
            return
        name, reference = asked[1], asked[2]
        version = self._version(name, reference)
        if version is None:
            recorded = {entry.version for entry in self._ledger(name)} | {a.model_version for a in self._answers(name)}
            if reference in recorded and reference.isdigit():
                yield ImpactSource(kind="model version", name=f"{name}/{reference}", version=(name, reference))
            return
        runs = frozenset({version.run_id})
        yield ImpactSource(
            kind="model version", name=f"{name}/{version.version}", runs=runs, version=(name, version.version)
        )

    def _version(self, name: str, reference: str) -> ModelVersion | None:
        """A version by number or alias."""
        if not reference.isdigit():
            model = self._reader.model(name)
            reference = model.aliases.get(reference, "") if model else ""
        return self._reader.version(name, reference) if reference else None

    def _data_or_run(self, what: str) -> Iterator[ImpactSource]:
        text = what.removesuffix(".dir")
        begins = text if len(text) >= SHORTEST_BEGINNING and re.fullmatch(r"[0-9a-f]+", text) else ""
        if begins:
            for digest in sorted({run.data_digest for run in self.runs(data_begins=begins)}):
                yield ImpactSource(kind="data version", name=digest, data=frozenset({digest}))
        for run in self.runs(begins=begins, name=what):
            yield ImpactSource(kind="run", name=run.run_id, runs=frozenset({run.run_id}))

    def _files(self, what: str) -> Iterator[ImpactSource]:
        """A file by `project:name`, name, or MD5; by a name it is in every version that has one of that name."""
        asked = _FILE.fullmatch(what)
        found: dict[str, set[str]] = {}
        for digest, version in self.data.items():
            names = {what} | ({asked[2]} if asked and asked[1] == version.project else set())
            for path, md5 in version.files:
                if path in names or any(_begins(md5, name) for name in names):
                    found.setdefault(f"{version.project}:{path}", set()).add(digest)
        for file, digests in sorted(found.items()):
            yield ImpactSource(kind="data file", name=file, data=frozenset(digests))

    def _near(self, what: str) -> str:
        runs = sorted((run for each in self.holders.values() for run in each), key=lambda run: run.started)[-NEAR:]
        names = {run.project for run in runs}
        words = {f"{name}/{each.version}" for name in names for each in self._reader.versions(name)[:NEAR]}
        words |= {word for run in runs for word in (run.run_id, run.name, run.data_digest) if word}
        words |= {f"{each.project}:{path}" for each in self.data.values() for path, _ in each.files}
        near = difflib.get_close_matches(what, sorted(words), n=3, cutoff=0.3)
        if near:
            return f"the nearest are {', '.join(near)}"
        return (
            "none is near; 'fullcircle data list' and 'fullcircle ui' show what there is"
            if words
            else "there are no runs"
        )

    def _ledger(self, name: str) -> list[Entry]:
        from fullcircle.store.champion_ledger import Ledger

        return Ledger(self._workspace.database).entries(name)

    def _answers(self, name: str) -> tuple[PredictionCounts, ...]:
        return prediction_counts(self._workspace.settings.home / "predictions" / name)


def _begins(md5: str, text: str) -> bool:
    return len(text) >= SHORTEST_BEGINNING and md5.startswith(text)


def _seen(run: RunRecord) -> AffectedRun:
    return AffectedRun(
        project=run.project,
        run_id=run.run_id,
        name=run.name,
        kind=run.kind,
        status="deleted" if run.deleted else run.status,
        data_digest=run.data_digest,
    )


def _registered(version: ModelVersion) -> Affected:
    known = _unregistered(version.name, version.version, version.digest, version.tags.get(DATA_DIGEST, ""))
    return replace(known, run_id=version.run_id, registered=True)


def _unregistered(project: str, number: str, digest: str, data: str) -> Affected:
    return Affected(
        project=project,
        version=number,
        digest=digest,
        run_id="",
        data_digest=data,
        registered=False,
        champion_periods=(),
        predictions=0,
        first=None,
        last=None,
    )


def _with_history(
    version: Affected, entries: list[Entry], prediction_counts: Iterable[PredictionCounts], replayed: bool
) -> Affected:
    own = [
        each
        for each in prediction_counts
        if (each.model_version, each.model_digest) == (version.version, version.digest)
    ]
    served = (term for term in champion_periods(entries, replayed=replayed) if term.version == version.version)
    return replace(
        version,
        champion_periods=tuple(term for term in served if term.entry.model_digest in ("", version.digest)),
        predictions=sum(each.predictions for each in own),
        first=min((each.first for each in own), default=None),
        last=max((each.last for each in own), default=None),
    )
