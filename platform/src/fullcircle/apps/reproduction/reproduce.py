"""Reproduces a finished training from what its run recorded, compares the results and gives a verdict.

Code, data, parameters, threads and the number of processes are the run's own. It trains in a process and a folder of
its own: the project's checkout, its runs and its registry stay as they are, but for the verdict that the run gets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.apps.reproduction import rerun
from fullcircle.apps.reproduction.code_source import CodeSource, checkout_source, imported
from fullcircle.apps.reproduction.original_run import OriginalRun, read_original_run
from fullcircle.core.errors import DataUnavailable, FullcircleError, TrackingUnavailable, TrainingFailed, UsageError
from fullcircle.core.records.fingerprint import VARIABLES, Fingerprint, Recorded, fingerprint_of
from fullcircle.core.records.repro_compare import Comparison, compare
from fullcircle.core.records.repro_report import Difference, DifferenceKind, Reproduction, differences, ranked
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import run_to_end
from fullcircle.core.system.temporary_folders import temporary
from fullcircle.data.data_diff import changes
from fullcircle.loop import progress
from fullcircle.loop.outage_retry import retry_outages
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.provenance.run_provenance import packages
from fullcircle.tracking.runs.run_schema import MASKED_TAG
from fullcircle.training.training_loop.event_log import DedupListener, follow

if TYPE_CHECKING:
    from fullcircle.tracking.runs.run_store import RunStore

STAGE = "train again"
_WHOLE = ("commit", "uncommitted changes", "masked secret")
"""Names of the differences that say that code is missing; where the digest of the code is the same, none is."""


@dataclass(frozen=True, kw_only=True)
class RerunOptions:
    """How a run is to be reproduced; what is not said is as it was.

    Attributes:
        project: the project's folder, or one in its repository.
        data: a folder of partitions, instead of the run's data version.
        overrides: as words of `--set`, to see what a change does.
        keep: leave worktree, data and what was trained in place, to look at.
        record: whether the run gets the verdict.
    """

    project: Path | None = None
    data: Path | None = None
    overrides: Sequence[str] = ()
    keep: bool = False
    record: bool = True


@retry_outages
def reproduce(workspace: Workspace, reference: str, options: RerunOptions) -> Reproduction:
    """Train a run again and say how far it went as it did.

    Args:
        reference: a run's id, a unique beginning of the id, or its name.

    Raises:
        UsageError: no such run (with the nearest), one that is no training or is not finished, or something of it is
            missing: which.
        TrainingFailed: the training could not be done again.
        TrackingUnavailable: the tracker does not answer.
    """
    started, run_store = time.monotonic(), workspace.run_store
    run_store.catch_up()  # what it told last may not have been sent
    run = read_original_run(run_store, run_store.state(reference))
    with (
        _folder(workspace.settings, run.state.run_id, keep=options.keep) as folder,
        checkout_source(run_store, run.state, folder / "code", project=options.project, keep=options.keep) as code,
    ):
        progress.current().stage("check out the code", code.what)
        data, changed = _data(workspace, run, folder, options.data)
        now = _trained(run, code, data, folder, options)
        in_use = imported(code.project)
    seen = compare(run.recorded, now)
    found = [*changed, *_code_lost(code, run.recorded, now), *differences(run.recorded, now)]
    result = Reproduction(
        run_id=run.state.run_id,
        project=run.state.tags.get("fullcircle.project", ""),
        framework=run.recorded.fingerprint.framework,
        at=datetime.now(UTC),
        code=code.what,
        comparison=seen,
        differences=ranked(_unasked(run, found), seen, run.recorded.fingerprint.framework, in_use),
        notes=(*code.notes, *_notes(run, seen)),
        seconds=time.monotonic() - started,
        kept=str(folder) if options.keep else "",
    )
    return _save(run_store, result) if options.record else result


@contextlib.contextmanager
def _folder(settings: Settings, run_id: str, *, keep: bool) -> Iterator[Path]:
    """A folder for one reproduction, which goes at the end, whatever the end is."""
    parent, prefix = settings.folder("reproductions"), f"{run_id[:8]}-"
    if keep:
        yield Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        return
    with temporary(parent, prefix) as folder:
        yield folder


def _data(workspace: Workspace, run: OriginalRun, folder: Path, other: Path | None) -> tuple[Path, list[Difference]]:
    """The folder of partitions to learn from, and what of it is not as it was."""
    restored = folder / "data"
    try:
        workspace.data_versions.restore(run.data, restored)
    except DataUnavailable as error:
        if other is None:
            what = f"run {run.state.run_id} cannot be reproduced: {error.what}"
            raise UsageError(what, hint="--data PATH trains on another folder of partitions") from error
        shutil.rmtree(restored, ignore_errors=True)
    if other is None:
        progress.current().stage("restore the data", f"{run.data.digest[:12]}, {len(run.data.files)} partitions")
        return restored, []
    if not other.is_dir():
        raise UsageError(f"no folder {other}", hint="--data names a folder with <YYYY-MM>.parquet")
    found = [
        Difference(kind=DifferenceKind.DATA, name=name, what=what)
        for name, what in changes(run.data, other, restored if restored.is_dir() else None)
    ]
    progress.current().stage(
        "take other data", f"{other}, which differs in {len(found)} of {len(run.data.files)} partitions"
    )
    return other.resolve(), found


def _trained(run: OriginalRun, code: CodeSource, data: Path, folder: Path, options: RerunOptions) -> Recorded:
    """The training, done again in a process of its own."""
    import numpy as np

    then = run.recorded.fingerprint
    request = rerun.RerunRequest(
        name=code.project.name,
        root=str(code.project.parent),
        framework=then.framework,
        until=run.until,
        training=run.recipe["training"],
        compute={**run.recipe["compute"], "where": _place(then), "budget_s": None},
        overrides=(*_bounded(run), *options.overrides),
        data=str(data),
    )
    (folder / rerun.REQUEST).write_text(json.dumps(dataclasses.asdict(request)))
    progress.current().stage(STAGE, f"{then.framework}, {_place(then)}, {then.steps:,} steps")
    log = folder / "training.log"
    command = (sys.executable, "-m", "fullcircle.apps.reproduction.rerun", str(folder))
    with follow(folder / rerun.JOB / "rank-0.events", DedupListener(_RerunProgress(run.recorded))):
        exit_code = run_to_end(command, cwd=code.top, env=_environment(then, code, folder), log=log)
    if not (folder / rerun.RESULT).exists():
        raise _failed(run, folder, exit_code, log)
    value = json.loads((folder / rerun.RESULT).read_text())
    return Recorded(
        fingerprint=fingerprint_of(value["fingerprint"], run.state.run_id),
        losses=np.load(folder / rerun.LOSSES, allow_pickle=False),
        requirements=packages(value["requirements"]),
        code=value["code"],
    )


def _place(then: Fingerprint) -> str:
    """Where to train: with as many processes as then. What Ray started is started here."""
    return f"local:{then.world_size}" if then.world_size > 1 else "inline"


def _bounded(run: OriginalRun) -> tuple[str, ...]:
    """A training that its budget of seconds ended ends after as many epochs again: seconds do not repeat."""
    if run.recipe["compute"].get("budget_s") is None:
        return ()
    return (f"training.epochs={len(run.recorded.fingerprint.epochs)}",)


def _environment(then: Fingerprint, code: CodeSource, folder: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, "MLFLOW_TRACKING_URI")}
    paths = [str(code.platform) if code.platform else "", env.get("PYTHONPATH", "")]
    return {
        **env,
        **then.variables,
        "FULLCIRCLE_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def _failed(run: OriginalRun, folder: Path, exit_code: int, log: Path) -> FullcircleError:
    name = f"run {run.state.run_id} could not be trained again"
    if (path := folder / rerun.ERROR).exists():
        error = json.loads(path.read_text())
        kind = UsageError if exit_code == UsageError.exit_code else TrainingFailed
        return kind(f"{name}: {error['what']}", hint=error["hint"])
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    last = lines[-1].strip() if lines else "it said nothing"
    return TrainingFailed(f"{name}: exit code {exit_code} ({last})", hint="--keep leaves training.log to be read")


def _code_lost(code: CodeSource, then: Recorded, now: Recorded) -> tuple[Difference, ...]:
    """What of the code could not be had, unless the project's code is the same all the same."""
    if then.code != now.code:
        return code.differences
    return tuple(each for each in code.differences if not each.name.endswith(".py") and each.name not in _WHOLE)


def _unasked(run: OriginalRun, found: Iterable[Difference]) -> Iterator[Difference]:
    """The differences without what the reproduction itself had to set."""
    return (each for each in found if not (_bounded(run) and each.name == "training.epochs"))


def _notes(run: OriginalRun, seen: Comparison) -> Iterator[str]:
    then = run.recorded.fingerprint
    for tag, kind in sorted(run.state.tags.items()):
        if tag.startswith(f"{MASKED_TAG}."):
            yield f"a secret was masked in {tag.removeprefix(f'{MASKED_TAG}.')} when it was kept ({kind}): set it again"
    if then.place.startswith("ray"):
        yield "it was trained on Ray; here its processes were started on this machine"
    if _bounded(run):
        yield "a budget of seconds ended it; here the number of its epochs did"
    if then.every > 1:
        yield f"of its losses each {then.every}th was kept as a number; the digest is over all of them"
    if seen.diverged_at and (times := run.state.tags.get("fullcircle.resumes")):
        yield f"it was stopped and gone on with {times} times, maybe with other code or another number of processes"
    if seen.diverged_at and "cuda" in then.devices:
        yield "on a GPU some operations have no deterministic form"


def _save(run_store: RunStore, result: Reproduction) -> Reproduction:
    """Keep the verdict with the run. A tracker that is away is no reason to lose it."""
    try:
        run = run_store.append(result.run_id)
        value = {"verdict": result.verdict, "causes": result.causes, **dataclasses.asdict(result)}
        run.json(value, f"reproduction/{result.at:%Y%m%dT%H%M%SZ}.json")
        run.tags({"fullcircle.reproduction": f"{result.verdict} ({result.at:%Y-%m-%d %H:%M} UTC)"})
    except TrackingUnavailable as error:
        return dataclasses.replace(result, notes=(*result.notes, f"the verdict was not kept: {error.what}"))
    return result


class _RerunProgress:
    """A Listener that says how far the repeated training is, and tells of the first step that has other bits."""

    def __init__(self, then: Recorded) -> None:
        self._then = then
        self._view = progress.current()  # another thread tells, and context variables stay behind in this one
        self._differs = False

    def epoch(self, metrics: Any) -> None:
        """Nothing: steps are what is compared."""

    def steps(self, first: int, losses: Sequence[float], norms: Sequence[float], rate: float) -> None:
        """Compare what there is of these steps."""
        then = self._then
        for step, loss in enumerate(losses, first):
            at, rest = divmod(step - 1, then.fingerprint.every)
            if not self._differs and not rest and at < len(then.losses) and then.losses[at] != loss:
                self._differs = True
                self._view.note(f"step {step:,} has other bits: loss {loss!r} instead of {float(then.losses[at])!r}")
        done = first + len(losses) - 1
        self._view.advance(STAGE, min(done, then.fingerprint.steps), then.fingerprint.steps)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._view.note(text)
