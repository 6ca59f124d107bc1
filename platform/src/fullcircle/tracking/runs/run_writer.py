"""Writes one MLflow run: parameters, metrics in batches, artifacts, data, and how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from fullcircle.core.errors import Away, HomeUnwritable, Preempted, TrackingUnavailable, UsageError
from fullcircle.core.records.dataset import DataVersion, Split
from fullcircle.core.records.training import EpochMetrics, RunRef
from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.settings import Settings
from fullcircle.core.system.disks import disk_is_full
from fullcircle.core.system.interrupts import defer_sigint
from fullcircle.core.tasks import Task
from fullcircle.store.json_values import to_json
from fullcircle.tracking.runs.append import appended
from fullcircle.tracking.runs.metrics import FastMetricPath, MetricDedup, MetricValidator, require_names
from fullcircle.tracking.runs.run_schema import DATA, data_tags, dataset_input, flat_params, metrics_of
from fullcircle.tracking.runs.step_points import StepPoints
from fullcircle.tracking.runs.system_metrics import SystemMonitor
from fullcircle.tracking.secrets.detection import masked
from fullcircle.tracking.secrets.run_masking import add_file, masked_tags, masked_values
from fullcircle.tracking.spool.backlog import Backlog
from fullcircle.tracking.spool.spool import Spool
from fullcircle.tracking.spool.spool_file import Params, Status, Tags
from fullcircle.tracking.ui.review import score_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREEMPTED, FAILURE = "fullcircle.preempted", "fullcircle.failure"
PAUSED = "SCHEDULED"
"""Status of a preempted run: MLflow's UI shows it in blue, as something still to come, not in red."""

STOPPED_BY = (TrackingUnavailable, HomeUnwritable, Away)
"""Errors from outside of what a run does: when they are mended, it may be resumed."""

NOTE_CHARACTERS = 7900
"""MLflow refuses tag values over 8,000 characters."""


class RunWriter:
    """A run that can be written to. Leaving it as a context manager ends it: FINISHED, FAILED with the reason in
    the tag `fullcircle.failure`, KILLED on Ctrl-C and by what is no fault of the run (`STOPPED_BY`, a full disk), or
    SCHEDULED with the step in `fullcircle.preempted` when it was asked to stop and can be resumed.

    All that is logged goes to the run's spool, a file on this machine, and from there to MLflow: a tracker that is away
    neither stops nor slows whoever logs. At the end MLflow has it, or `backlog` says what it does not have.

    A run from `RunStore.append` keeps its status, and each call returns when MLflow has what was logged.

    Args:
        spool: None: of an appended run, which opens one for each call.
        begun_ms: when the run began, in milliseconds since the epoch.
        had: reads, when a metric is logged, which points the run has from before it was opened.
        params: that the run has already.
        key: what its files on this machine are kept under, if that is not its id: see `RunState.key`.
        environment: reads, when it is asked for and `ref` has none, the digest of what was installed.

    The run holds each (metric, step) once: of a point that is logged again, the first one stays. A metric's steps need
    not ascend, as long as they are among the newest: see `tracking.runs.metrics`.

    Methods that write raise HomeUnwritable when the spool cannot be written; those of an appended run also
    TrackingUnavailable, when what they logged waits in the spool, for which a patient use case has waited. Metrics may
    be logged from several threads.
    """

    def __init__(
        self,
        client: MlflowClient | None,
        settings: Settings,
        run_id: str,
        experiment_id: str,
        *,
        spool: Spool | None,
        ref: RunRef,
        begun_ms: int,
        had: Callable[[], MetricDedup] = MetricDedup,
        params: Mapping[str, str] | None = None,
        key: str = "",
        environment: Callable[[], str] = str,
    ) -> None:
        self.id = run_id
        self.key = key or run_id
        self.experiment_id = experiment_id
        self.backlog: Backlog | None = None
        self._client = client
        self._settings = settings
        self._spool = spool
        self._ref = ref
        self._begun_ms = begun_ms
        self._had = had
        self._environment = environment
        self._tell = self.metrics if spool is None else FastMetricPath(self._validator, spool.writer).points
        self._params = dict(params or {})
        self.step_points = StepPoints(self.points, lambda names, step: self._validator.beyond(names, step))
        self._system_monitor: SystemMonitor | None = None

    @cached_property
    def _validator(self) -> MetricValidator:
        return MetricValidator(self._had())

    def ref(self, framework: str, seed: int) -> RunRef:
        """The value that names this run elsewhere."""
        environment = self._ref.environment or self._environment()
        return dataclasses.replace(self._ref, framework=framework, seed=seed, environment=environment)

    def params(self, values: Mapping[str, object]) -> None:
        """Log parameters; nested mappings get dotted names. A parameter never changes: UsageError if it would."""
        found = self._without_secrets(dict(flat_params(values)), "parameter")
        for key, text in found.items():
            if self._params.get(key, text) != text:
                raise UsageError(
                    f"parameter {key!r} of run {self.id} is {self._params[key]!r} and cannot become {text!r}",
                    hint="a parameter never changes; start another run",
                )
        require_names(found)
        self._params |= found
        with self._writing() as spool:
            spool.entry(Params(found))

    def epoch(self, epoch: EpochMetrics) -> None:
        """Log an epoch's metrics with the epoch as step."""
        self.metrics({**epoch.logged, "epoch_seconds": epoch.seconds}, epoch.epoch)

    def age_s(self, at_s: float) -> int:
        """Whole seconds from the run's beginning until `at_s` (seconds since the epoch)."""
        return max(0, int(at_s - self._begun_ms / 1000))

    def knows(self, key: str, step: int) -> bool:
        """Whether the run has this point."""
        return self._validator.has(key, step)

    def points(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics of a step, for loops that do so thousands of times: costs a copy and an append to a list. They
        are in the spool 0.2 s later. Raises UsageError for a name that MLflow does not take, and for what is no number.
        """
        self._tell(values, step)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics now, together with all that waits: when this returns, a kill -9 does not lose them."""
        if self._spool is not None:
            self._spool.writer.require_own()
        new, packed, step = self._validator.new(values, step)
        if not new and self._spool is None:
            return
        with self._writing() as spool:
            if new:
                spool.packed(new, packed, step)
            spool.flush()

    def flush(self, patience_s: float = 5.0) -> bool:
        """Wait until MLflow has all that was logged; False when nothing could be sent for `patience_s`."""
        return self._spool is None or self._spool.drain(patience_s)

    def evaluation(self, task: Task, evaluation: Evaluation, prefix: str) -> None:
        """Log `<prefix>_roc_auc`, `..._low`, `..._high` and so on, all of it as evaluation/<prefix>.json, and what the
        list of runs says of it."""
        self.metrics(metrics_of(evaluation, prefix))
        self.tags(score_tags(task, evaluation))
        self.json(evaluation, f"evaluation/{prefix}.json")

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; a value that MLflow would refuse for its length is cut. Raises UsageError for a name that it does
        not take."""
        require_names(values)
        told = self._without_secrets({key: str(value) for key, value in values.items()}, "tag")
        with self._writing() as spool:
            spool.entry(Tags({key: _cut(value) for key, value in told.items()}))

    def note(self, markdown: str) -> None:
        """Set the description that the MLflow UI shows on top of the run."""
        self.tags({"mlflow.note.content": markdown})

    def text(self, text: str, artifact_path: str) -> None:
        """Keep a text as artifact, at this path within the run, without the secrets in it."""
        text, kinds = masked(text, name=artifact_path)
        self._entries(masked_tags(artifact_path, kinds, self.id))
        with self._writing() as spool:
            spool.text(text, artifact_path)

    def patch(self, text: str, artifact_path: str) -> None:
        """Keep a patch that has markers for its secrets already (`secrets.patch_masking`), to the last byte."""
        with self._writing() as spool:
            spool.text(text, artifact_path)

    def json(self, value: object, artifact_path: str) -> None:
        """Keep a value (dataclasses, datetimes, numpy and all) as a JSON artifact."""
        self.text(to_json(value), artifact_path)

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a file, as it is now, as artifact in this folder within the run; a text without the secrets in it."""
        with self._writing() as spool:
            add_file(spool, path, folder, self.id)

    def folder(self, path: Path, folder: str) -> None:
        """Keep all files of a folder, as they are now, as artifacts in this folder within the run."""
        with self._writing() as spool:
            for each in sorted(each for each in path.rglob("*") if each.is_file()):
                add_file(spool, each, "/".join((folder, *each.relative_to(path).parts[:-1])), self.id)

    def data(self, version: DataVersion, split: Split | None = None) -> None:
        """Say what data this run used: an MLflow dataset input, tags, and artifacts from which it can be restored
        (data/<project>.dvc, data/version.json, data/split.json)."""
        with self._writing() as spool:
            spool.entry(dataset_input(version, self._settings.dvc_remote))
        self.text(version.pointer, f"data/{version.project}.dvc")
        self.json(version, DATA)
        if split is not None:
            self.json(split, "data/split.json")
        self.tags(data_tags(version))

    def watch_machine(self, *, after: int = -1) -> None:
        """Start to log this machine's load every few seconds, under `system/<its name>/`; `after` the last sample."""
        self._system_monitor = SystemMonitor(self.points, self._begun_ms / 1000, after=after)
        self._system_monitor.start()

    def end(self, status: str = "FINISHED", reason: str = "") -> None:
        """End the run as FINISHED, FAILED or KILLED, behind all that was logged: MLflow gets the end when it has all
        of it. When it is away, that waits in the spool, and `backlog` says what. Nothing for an appended run."""
        self._settle({FAILURE: reason} if reason else {}, status)

    def pause(self, step: int) -> None:
        """Leave the run as preempted after this step: it is to be resumed, and no failure."""
        self._settle({PREEMPTED: f"step {step}"}, PAUSED)

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
            return
        if isinstance(error, Preempted):
            with contextlib.suppress(Exception):
                self.pause(error.step)
            return
        failed = isinstance(error, Exception) and not isinstance(error, STOPPED_BY) and not disk_is_full(error)
        status = "FAILED" if failed else "KILLED"
        # What went wrong matters more than that it could not be written down.
        with contextlib.suppress(Exception):
            self.end(status, reason=f"{type(error).__name__}: {error}".strip(": "))

    def _without_secrets(self, values: Mapping[str, str], what: str) -> dict[str, str]:
        kept, tags = masked_values(values, what, self.id)
        self._entries(tags)
        return kept

    def _entries(self, entries: Sequence[Tags]) -> None:
        for entry in entries:
            with self._writing() as spool:
                spool.entry(entry)

    def _settle(self, tags: Mapping[str, str], status: str) -> None:
        if self._spool is None:
            return
        try:
            with defer_sigint():  # pressed again, Ctrl-C ends the wait for the tracker and loses no end of a run
                if self._system_monitor is not None:
                    self._system_monitor.stop()
                self.step_points.last()
                if tags:
                    self.tags(tags)
                self._tell = self._too_late
                self._spool.entry(Status(status, time.time_ns() // 1_000_000))
            self.backlog = self._spool.close()
        finally:
            self._spool.let_go()
            self._spool, self._tell = None, self.metrics  # whatever is logged from now on is appended

    def _too_late(self, values: Mapping[str, float], step: int) -> None:
        raise UsageError(
            f"run {self.id} is being ended, and was told {', '.join(values)} of step {step}",
            hint="let the threads that tell it end before it does",
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Spool]:
        """The run's spool; of an appended run one of its own, whose content MLflow has when the block ends."""
        if self._spool is not None:
            yield self._spool
            return
        with appended(self._settings, self._client, self.id) as spool:
            yield spool


def _cut(text: str) -> str:
    text = text.encode(errors="replace").decode()  # the name of a file in an error may be no text at all
    return text if len(text) <= NOTE_CHARACTERS else text[: NOTE_CHARACTERS - 2] + " …"
