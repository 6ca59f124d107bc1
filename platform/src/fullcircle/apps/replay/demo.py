"""`fullcircle demo` and `fullcircle replay`: data stages, servers, flow and report. Nothing is left running."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fullcircle.alerting.webhook_receiver import WebhookReceiver
from fullcircle.apps.replay.periods import ReplaySpan, plan_periods
from fullcircle.apps.replay.replay import ReplayResult, mean_auc, refuse_real
from fullcircle.apps.replay.report_sections import build_report
from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.project import Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.settings import Settings
from fullcircle.data.dvc_pipeline import reproduce
from fullcircle.loop import progress
from fullcircle.loop.workspace import Workspace
from fullcircle.orchestration.flow_paths import load_flow
from fullcircle.orchestration.prefect_server import connect, running

PROJECT = "flights"
OURS = (
    *("mlflow.db", "mlflow.db-shm", "mlflow.db-wal", "mlartifacts", "fullcircle.db", "fullcircle.db-shm"),
    *("fullcircle.db-wal", "predictions", "dvc", "dvc-remote", "models", "reports", "exports", "checkpoints"),
    *("quarantine", "prefect", "downloads", "tmp"),
)
"""What --fresh forgets, by name: a FULLCIRCLE_HOME that somebody else writes to as well keeps the rest."""


@dataclass(frozen=True, kw_only=True)
class ReplayOutcome:
    """A replay's result with its report and the last page that on-call got (None when nobody was paged)."""

    result: ReplayResult
    report: Path
    page: Mapping[str, Any] | None

    @property
    def mean_champion(self) -> float:
        """Mean primary metric of the circle's champion over the months."""
        return mean_auc(self.result.rows, "auc_champion")

    @property
    def mean_frozen(self) -> float:
        """Mean primary metric of the model that was never retrained."""
        return mean_auc(self.result.rows, "auc_frozen")

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return dataclasses.asdict(self.result) | {
            "mean_auc_champion": self.mean_champion,
            "mean_auc_frozen": self.mean_frozen,
            "gain": self.result.gain,
            "report": str(self.report),
        }


def run_demo(settings: Settings, root: Path, *, fresh: bool = False, months: int | None = None) -> ReplayOutcome:
    """Data stages, then the replay of the flights. Incremental; `fresh` starts over.

    Raises:
        UsageError: when `root` is no checkout of fullcircle (the flights project is not in the wheel).
    """
    if not (root / "dvc.yaml").is_file():
        raise UsageError(
            f"no dvc.yaml in {root}", hint="run the demo in a checkout of fullcircle, or try 'fullcircle new'"
        )
    with _alone(settings):
        if fresh:
            clear_home(settings)
        refuse_real(load_project(PROJECT, root), Workspace(settings))
        stage = progress.current().stage
        stage("prepare the data", "DVC stages; the first time takes half a minute")
        # The data stages and the orchestrator's start need each other not: a quarter of a minute saved.
        with ThreadPoolExecutor(max_workers=1) as aside, _orchestrated(settings, aside, root, reproduce):
            return _replay(load_project(PROJECT, root), settings, root, span=ReplaySpan(months=months), sample=1.0)


def run_replay(
    name: str,
    settings: Settings,
    root: Path,
    *,
    start: str | None = None,
    until: str | None = None,
    months: int | None = None,
    sample: float,
) -> ReplayOutcome:
    """The replay of any project, as a Prefect flow; where it begins and ends is as in `ReplaySpan`."""
    span = ReplaySpan(start, until, months)
    project = load_project(name, root)
    refuse_real(project, Workspace(settings))
    with _alone(settings):
        plan_periods(project, span)  # what cannot be replayed is refused before a server is started
        with connect(settings):
            return _replay(project, settings, root, span=span, sample=sample)


def clear_home(settings: Settings) -> None:
    """Remove what earlier runs wrote under home; the DVC stages' data and cache stay.

    Raises:
        FullcircleError: a server of this home is running, whose database would go from under it; nothing is removed.
    """
    if url := running(settings):
        raise FullcircleError(
            f"a Prefect server of {settings.home} is running at {url}", hint="end it first ('fullcircle ui': Ctrl-C)"
        )
    for name in OURS:
        path = settings.home / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _orchestrated(settings: Settings, aside: ThreadPoolExecutor, root: Path, reproduce: Any) -> Iterator[None]:
    lines: list[str] = []
    prepared = aside.submit(reproduce, root, lines.append)
    with connect(settings):
        prepared.result()
        ran = sum("Running stage" in line for line in lines)
        progress.current().stage(
            "prepare the data", f"{ran} stages ran" if ran else "nothing changed since the last time"
        )
        yield


def _replay(project: Project, settings: Settings, root: Path, *, span: ReplaySpan, sample: float) -> ReplayOutcome:
    started = datetime.now(UTC)
    with WebhookReceiver() as receiver:
        flow = load_flow("replay")
        result = flow.replay(
            project.name, root=str(root), routes=[receiver.url], sample=sample, **dataclasses.asdict(span)
        )
        pages = list(receiver.pages)
    report, page = _report(project, settings, result, pages, started)
    return ReplayOutcome(result=result, report=report, page=page)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One replay at a time in a home. The lock goes with the process, however it ends."""
    settings.check_writable()
    with (settings.folder() / "replay.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise FullcircleError(
                f"another replay (process {lock.read().strip() or 'unknown'}) is using {settings.home}",
                hint="wait for it, or set another FULLCIRCLE_HOME",
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _report(
    project: Project, settings: Settings, result: ReplayResult, pages: list[dict[str, Any]], started: datetime
) -> tuple[Path, Mapping[str, Any] | None]:
    return build_report(project, Workspace(settings), result, pages, started)
