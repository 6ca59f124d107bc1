"""One MLflow run that is being written: parameters, metrics in batches, artifacts, data, and how it ended."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from fullcircle.core.dataset import DataVersion, Split
from fullcircle.core.errors import Preempted
from fullcircle.core.models import EpochMetrics, Evaluation, RunRef
from fullcircle.core.settings import Settings
from fullcircle.store.plain import to_json
from fullcircle.tracking.client import translated
from fullcircle.tracking.lineage import data_tags, flat_params, metrics_of
from fullcircle.tracking.machine import Load

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

FLUSH_EVERY_S = 1.0
"""Metrics of epochs and steps wait at most this long: one request a second, and a kill -9 loses one second of them."""

STEP_POINT_EVERY_S = 1.0
"""Of the steps, one point a second is kept: a training may do thousands."""

STEP_METRICS = ("step_loss", "gradient_norm", "samples_per_second")
PREEMPTED, FAILURE = "fullcircle.preempted", "fullcircle.failure"
PAUSED = "SCHEDULED"
"""Status of a preempted run: MLflow's UI shows it in blue, as something still to come, not in red."""

NOTE_CHARACTERS = 7900
"""MLflow refuses tag values over 8,000 characters."""


class Run:
    """A run that can be written to. Leaving it as a context manager ends it: FINISHED, FAILED with the reason in
    the tag `fullcircle.failure`, KILLED on Ctrl-C, or SCHEDULED with the step in `fullcircle.preempted` when it was
    told to stop and can be resumed. A run from `Tracker.append` keeps its status.

    Args:
        known: (metric, step) that the run has already, from before it was resumed: they are not logged again.
        last_step: the last step that its step metrics have.

    Every method raises TrackingUnavailable when the store does not answer. Not for two threads at once.
    """

    def __init__(
        self,
        client: MlflowClient,
        settings: Settings,
        run_id: str,
        experiment_id: str,
        *,
        ends: bool,
        ref: RunRef,
        known: frozenset[tuple[str, int]] = frozenset(),
        last_step: int = 0,
    ) -> None:
        self.id = run_id
        self.experiment_id = experiment_id
        self._client = client
        self._settings = settings
        self._ends = ends
        self._ref = ref
        self._waiting: list[Metric] = []
        self._sent_at = time.monotonic()
        self._known = known
        self._last_step = last_step
        self._step_at = -math.inf
        self._step_waits: tuple[int, dict[str, float]] | None = None
        self._load: Load | None = None

    def ref(self, framework: str, seed: int) -> RunRef:
        """The value that names this run elsewhere."""
        import dataclasses

        return dataclasses.replace(self._ref, framework=framework, seed=seed)

    def params(self, values: Mapping[str, object]) -> None:
        """Log parameters; nested mappings get dotted names. A parameter never changes: UsageError if it would."""
        from mlflow.entities import Param

        pairs = [Param(key, text) for key, text in flat_params(values)]
        with translated(self._settings, f"logging parameters of run {self.id}"):
            for start in range(0, len(pairs), 100):  # MLflow's limit for one request
                self._client.log_batch(self.id, params=pairs[start : start + 100])

    def epoch(self, epoch: EpochMetrics) -> None:
        """Log an epoch's metrics with the epoch as step. Buffered; sent about once a second and at the end."""
        values = {
            "train_loss": epoch.train_loss,
            "validation_loss": epoch.validation_loss,
            "validation_auc": epoch.validation_auc,
            "epoch_seconds": epoch.seconds,
        }
        self._wait(values, epoch.epoch)
        if time.monotonic() - self._sent_at >= FLUSH_EVERY_S:
            self.flush()

    def steps(
        self, first: int, losses: Sequence[float], norms: Sequence[float], rate: float
    ) -> tuple[int, Mapping[str, float]] | None:
        """Hear of steps `first`, `first + 1`, ...; about once a second the newest becomes a point of `step_loss`,
        `gradient_norm` and `samples_per_second`, with its number as step. Returns the point when there is one."""
        number = first + len(losses) - 1
        if not losses or number <= self._last_step:
            return None
        values = dict(zip(STEP_METRICS, (losses[-1], norms[-1], rate), strict=True))
        if time.monotonic() - self._step_at < STEP_POINT_EVERY_S:
            self._step_waits = (number, values)
            return None
        self._step_at, self._step_waits = time.monotonic(), None
        self._wait(values, number)
        if time.monotonic() - self._sent_at >= FLUSH_EVERY_S:
            self.flush()
        return number, values

    def last_of_steps(self) -> tuple[int, Mapping[str, float]] | None:
        """The newest step becomes a point, if it is none yet: a training that ends shows its last step."""
        waits, self._step_waits = self._step_waits, None
        if waits is not None:
            self._wait(waits[1], waits[0])
        return waits

    def knows(self, key: str, step: int) -> bool:
        """Whether the run had this point before it was resumed."""
        return (key, step) in self._known

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics now, together with the epochs that wait."""
        self._wait(values, step)
        self.flush()

    def flush(self) -> None:
        """Send the metrics that wait. Safe to repeat after a failure: the same points are never counted twice."""
        with translated(self._settings, f"logging metrics of run {self.id}"):
            while self._waiting:
                self._client.log_batch(self.id, metrics=self._waiting[:1000])
                del self._waiting[:1000]
        self._sent_at = time.monotonic()

    def evaluation(self, evaluation: Evaluation, prefix: str) -> None:
        """Log `<prefix>_roc_auc`, `..._low`, `..._high` and so on, and all of it as evaluation/<prefix>.json."""
        self.metrics(metrics_of(evaluation, prefix))
        self.json(evaluation, f"evaluation/{prefix}.json")

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; a value that MLflow would refuse for its length is cut."""
        from mlflow.entities import RunTag

        pairs = [RunTag(key, _cut(str(value))) for key, value in values.items()]
        with translated(self._settings, f"tagging run {self.id}"):
            for start in range(0, len(pairs), 100):
                self._client.log_batch(self.id, tags=pairs[start : start + 100])

    def note(self, markdown: str) -> None:
        """Set the description that the MLflow UI shows on top of the run."""
        self.tags({"mlflow.note.content": markdown})

    def text(self, text: str, artifact_path: str) -> None:
        """Keep a text as artifact, at this path within the run."""
        with translated(self._settings, f"keeping {artifact_path} with run {self.id}"):
            self._client.log_text(self.id, text, artifact_path)

    def json(self, value: object, artifact_path: str) -> None:
        """Keep a value (dataclasses, datetimes, numpy and all) as a JSON artifact."""
        self.text(to_json(value), artifact_path)

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a file as artifact, in this folder within the run."""
        with translated(self._settings, f"keeping {path.name} with run {self.id}"):
            self._client.log_artifact(self.id, str(path), folder or None)

    def folder(self, path: Path, folder: str) -> None:
        """Keep all files of a folder as artifacts, in this folder within the run."""
        with translated(self._settings, f"keeping {path.name} with run {self.id}"):
            self._client.log_artifacts(self.id, str(path), folder)

    def data(self, version: DataVersion, split: Split | None = None) -> None:
        """Say what data this run used: an MLflow dataset input, tags, and artifacts from which it can be restored
        (data/<project>.dvc, data/version.json, data/split.json)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        remote = self._settings.dvc_remote
        dataset = Dataset(
            name=version.project,
            digest=version.digest,  # `<md5>.dir` is 36 characters, exactly MLflow's limit
            source_type="s3" if remote.startswith("s3://") else "local",
            source=json.dumps({"uri": remote}),
            profile=json.dumps({"num_rows": version.rows, "size_bytes": version.size_bytes}),
        )
        with translated(self._settings, f"logging the data of run {self.id}"):
            context = InputTag("mlflow.data.context", "training")
            self._client.log_inputs(self.id, [DatasetInput(dataset, [context])])
        self.text(version.pointer, f"data/{version.project}.dvc")
        self.json(version, "data/version.json")
        if split is not None:
            self.json(split, "data/split.json")
        self.tags(data_tags(version, split))

    def watch_machine(self, *, again: bool = False) -> None:
        """Start to log this machine's load every few seconds, under `system/<its name>/`."""
        self._load = Load(self.id, self._settings)
        self._load.start(again=again)

    def end(self, status: str = "FINISHED", reason: str = "") -> None:
        """End the run as FINISHED, FAILED or KILLED, with all that waited. Nothing for an appended run but a flush."""
        self._settle()
        if reason:
            self.tags({FAILURE: reason})
        if self._ends:
            with translated(self._settings, f"ending run {self.id}"):
                self._client.set_terminated(self.id, status)

    def pause(self, step: int) -> None:
        """Leave the run as preempted after this step: it is to be resumed, and no failure."""
        self._settle()
        self.tags({PREEMPTED: f"step {step}"})
        if self._ends:
            with translated(self._settings, f"pausing run {self.id}"):
                self._client.update_run(self.id, status=PAUSED)

    def __enter__(self) -> Run:
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
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        # What went wrong matters more than that it could not be written down.
        with contextlib.suppress(Exception):
            self.end(status, reason=f"{type(error).__name__}: {error}".strip(": ") if self._ends else "")

    def _settle(self) -> None:
        if self._load is not None:
            self._load.stop()
        self.last_of_steps()
        self.flush()

    def _wait(self, values: Mapping[str, float], step: int) -> None:
        self._waiting += _metrics({key: each for key, each in values.items() if not self.knows(key, step)}, step)


def _metrics(values: Mapping[str, float], step: int) -> Sequence[Metric]:
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    return [Metric(key, float(value), now_ms, step) for key, value in values.items()]


def _cut(text: str) -> str:
    return text if len(text) <= NOTE_CHARACTERS else text[: NOTE_CHARACTERS - 2] + " …"
