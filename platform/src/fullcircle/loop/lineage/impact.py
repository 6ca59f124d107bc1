"""Walks forwards: all that came from a data version, one of its files, a run or a model version."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from fullcircle.core.errors import ModelUnavailable, UsageError
from fullcircle.core.lineage import Affected, Impact, RunSeen, terms
from fullcircle.core.settings import Settings
from fullcircle.loop.clock import is_replayed
from fullcircle.tracking.lineage import DATA_DIGEST

if TYPE_CHECKING:
    from fullcircle.core.dataset import DataVersion
    from fullcircle.core.ledger import Entry
    from fullcircle.core.models import ModelVersion
    from fullcircle.predictions.counts import Answers
    from fullcircle.tracking.ancestry.record import RunRecord

SHORTEST_BEGINNING = 6
"""Characters of a digest or an id that name it."""
_VERSION = re.compile(r"([\w.-]+)[/:]([\w-]+)")
_FILE = re.compile(r"([\w.-]+)[:/](.+)")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What was asked about: the data versions, runs and (project, version) that it names."""

    kind: str
    name: str
    data: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    version: tuple[str, str] | None = None


def impact(settings: Settings, what: str, *, project: str | None = None) -> Impact:
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
    known = Known(settings, project)
    origin = known.named(what)
    runs = [run for run in known.runs if _concerns(origin, run)]
    return Impact(
        kind=origin.kind,
        name=origin.name,
        data=tuple(sorted(origin.data)),
        runs=tuple(_seen(run) for run in runs),
        versions=tuple(known.affected(origin, runs)),
    )


class Known:
    """What MLflow, the ledgers and the prediction logs know; each is read once, when it is first asked for."""

    def __init__(self, settings: Settings, project: str | None) -> None:
        from fullcircle.tracking.ancestry.client import Ancestry
        from fullcircle.tracking.registry import Registry

        self._settings = settings
        self._ancestry = Ancestry(settings)
        self._registry = Registry(settings)
        self._project = project

    @cached_property
    def runs(self) -> tuple[RunRecord, ...]:
        """The platform's runs, newest first."""
        found = (run for run in self._ancestry.runs() if run.project)
        return tuple(run for run in found if self._project in (None, run.project))

    @cached_property
    def data(self) -> Mapping[str, DataVersion]:
        """Digest -> data version, of those that a run still keeps."""
        found: dict[str, DataVersion] = {}
        for run in self.runs:
            if run.data_digest and run.data_digest not in found and (kept := self._ancestry.data(run)) is not None:
                found[run.data_digest] = kept
        return found

    @cached_property
    def graphs(self) -> Mapping[str, str]:
        """Run id -> digest of the graph that it registered."""
        return self._ancestry.graphs()

    def named(self, what: str) -> Origin:
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

    def affected(self, origin: Origin, runs: Iterable[RunRecord]) -> Iterator[Affected]:
        """The model versions that came from it, oldest first, also those that are no longer registered."""
        ids = {run.run_id for run in runs}
        graphs = {self.graphs[id_] for id_ in ids if id_ in self.graphs}
        names = {run.project for run in self.runs if run.run_id in ids} | (
            {origin.version[0]} if origin.version else set()
        )
        for name in sorted(names):
            entries, answers = self._ledger(name), self._answers(name)
            replayed = is_replayed(name, self._settings)
            found: dict[tuple[str, str], Affected] = {}
            for version in self._registry.versions(name):
                if version.run_id in ids or (name, version.version) == origin.version:
                    found[version.version, version.digest] = _registered(version)
            elsewhere = [(entry.version, entry.model_digest, entry.data_digest) for entry in entries]
            elsewhere += [(each.model_version, each.model_digest, "") for each in answers]
            for number, digest, data in elsewhere:
                if digest in graphs or data in origin.data or (name, number) == origin.version:
                    found.setdefault((number, digest), _unregistered(name, number, digest, data))
            for key in sorted(found, key=lambda each: (len(each[0]), each)):
                yield _with_history(found[key], entries, answers, replayed)

    def _model(self, what: str) -> Iterator[Origin]:
        """A version by number or alias; a number also when only the ledger or the log still knows it."""
        asked = _VERSION.fullmatch(what)
        if asked is None:
            return
        name, reference = asked[1], asked[2]
        try:
            version = self._registry.version(name, reference)
        except ModelUnavailable:
            recorded = {entry.version for entry in self._ledger(name)} | {a.model_version for a in self._answers(name)}
            if reference in recorded and reference.isdigit():
                yield Origin(kind="model version", name=f"{name}/{reference}", version=(name, reference))
            return
        runs = frozenset({version.run_id})
        yield Origin(kind="model version", name=f"{name}/{version.version}", runs=runs, version=(name, version.version))

    def _data_or_run(self, what: str) -> Iterator[Origin]:
        text = what.removesuffix(".dir")
        begins = len(text) >= SHORTEST_BEGINNING and re.fullmatch(r"[0-9a-f]+", text)
        for digest in sorted({run.data_digest for run in self.runs if run.data_digest}):
            if begins and digest.startswith(text):
                yield Origin(kind="data version", name=digest, data=frozenset({digest}))
        for run in self.runs:
            if (begins and run.run_id.startswith(text)) or run.name == what:
                yield Origin(kind="run", name=run.run_id, runs=frozenset({run.run_id}))

    def _files(self, what: str) -> Iterator[Origin]:
        """A file by `project:name`, name, or MD5; by a name it is in every version that has one of that name."""
        asked = _FILE.fullmatch(what)
        found: dict[str, set[str]] = {}
        for digest, version in self.data.items():
            names = {what} | ({asked[2]} if asked and asked[1] == version.project else set())
            for path, md5 in version.files:
                if path in names or any(_begins(md5, name) for name in names):
                    found.setdefault(f"{version.project}:{path}", set()).add(digest)
        for file, digests in sorted(found.items()):
            yield Origin(kind="data file", name=file, data=frozenset(digests))

    def _near(self, what: str) -> str:
        names = {run.project for run in self.runs}
        words = {f"{name}/{each.version}" for name in names for each in self._registry.versions(name)}
        words |= {word for run in self.runs for word in (run.run_id, run.name, run.data_digest) if word}
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
        from fullcircle.store.database import Database
        from fullcircle.store.ledger import Ledger

        return Ledger(Database(self._settings)).entries(name)

    def _answers(self, name: str) -> tuple[Answers, ...]:
        from fullcircle.predictions.counts import answers

        return answers(self._settings.home / "predictions" / name)


def _concerns(origin: Origin, run: RunRecord) -> bool:
    return run.run_id in origin.runs or run.parent in origin.runs or run.data_digest in origin.data


def _begins(md5: str, text: str) -> bool:
    return len(text) >= SHORTEST_BEGINNING and md5.startswith(text)


def _seen(run: RunRecord) -> RunSeen:
    return RunSeen(
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
        terms=(),
        predictions=0,
        first=None,
        last=None,
    )


def _with_history(version: Affected, entries: list[Entry], answers: Iterable[Answers], replayed: bool) -> Affected:
    own = [each for each in answers if (each.model_version, each.model_digest) == (version.version, version.digest)]
    served = (term for term in terms(entries, replayed=replayed) if term.version == version.version)
    return replace(
        version,
        terms=tuple(term for term in served if term.entry.model_digest in ("", version.digest)),
        predictions=sum(each.predictions for each in own),
        first=min((each.first for each in own), default=None),
        last=max((each.last for each in own), default=None),
    )
