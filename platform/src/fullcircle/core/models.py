"""Values and ports of training, judging and releasing a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fullcircle.core.identity import identity

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.latency import Latency
    from fullcircle.core.project import ModelFunction, Training

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Registry aliases. Stages are never used."""


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """Where a model came from: its MLflow run, code, environment and seed."""

    run_id: str
    framework: str
    seed: int
    commit: str
    dirty: bool
    environment: str
    """SHA-256 over the installed distributions and their versions."""


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """What one epoch came to. `epoch` counts from 1; losses are mean weighted log losses in nats."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_auc: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Preprocessed rows, in memory or mapped from files.

    Attributes:
        x_train, x_validation: float32 (rows, *shape of a row: features, or height, width and channels).
        y_train, y_validation: float32 (rows,), 0 or 1.
        ids_train: (rows,) the beginnings of the project's row ids, where they are known.
        digest: SHA-256 of the rows, where it is known.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.float32]
    x_validation: NDArray[np.float32]
    y_validation: NDArray[np.float32]
    ids_train: NDArray[np.str_] | None = None
    digest: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row's features."""
        return tuple(int(length) for length in self.x_train.shape[1:])


class Preprocessor(Protocol):
    """Raw rows to features, fitted once on training rows alone."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, one for each column of `transform`'s result."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of all that was fitted: equal bits in, equal bits out."""
        ...

    def transform(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Raw rows to float32 (rows, features). Unknown categories and missing numbers are allowed."""
        ...

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph: one input a raw column, shape (rows, 1); one output `features`."""
        ...


class Fitted(Protocol):
    """A trained model, in whichever framework."""

    framework: str
    history: tuple[EpochMetrics, ...]
    best_epoch: int

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the positive class, float32 (rows,), by the native framework."""
        ...

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: input `features` (rows, features), output `probability` (rows, 1)."""
        ...


OnEpoch = Callable[[EpochMetrics], None]


class Trainer(Protocol):
    """Fits one framework's model. Guarantees: the same seed and arrays give the same weights on CPU;
    the best epoch by validation loss is what `fit` returns; a checkpoint is on disk after each epoch,
    and `fit` on a folder that holds one goes on from there."""

    framework: str

    def fit(
        self, build: ModelFunction, arrays: Arrays, params: Training, *, checkpoints: Path, on_epoch: OnEpoch
    ) -> Fitted:
        """Train until `patience` epochs brought nothing or `epochs` are done. Raises TrainingFailed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, kw_only=True)
class SliceScore:
    """One group's metrics: `column` == `group`, on `rows` rows."""

    column: str
    group: str
    rows: int
    roc_auc: Interval
    difference: Interval | None
    """ROC AUC minus the champion's on the same rows, when there is a champion."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How one model does on one set of rows.

    Attributes:
        metrics: metric name (see `core.project.METRICS`) -> estimate with interval.
        reliability: (mean predicted probability, observed share, rows) of each bin of equal count.
    """

    framework: str
    rows: int
    positives: int
    metrics: Mapping[str, Interval]
    slices: tuple[SliceScore, ...]
    reliability: tuple[tuple[float, float, int], ...]


class Outcome(StrEnum):
    """What a gate can say."""

    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One gate's word, with the numbers that it rests on.

    Attributes:
        missed_by: by how much it was missed, in the gate's own unit; None where it passed or no number says it.
        rows_needed: where it doubts: about how many labelled rows would decide; None: no number of rows would.
    """

    gate: str
    passed: bool
    detail: str
    missed_by: float | None = None
    rows_needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the challenger may take over, and why.

    Attributes:
        against: metric -> challenger minus champion on the same rows, when there is a champion (DeLong's interval for
            ROC AUC, else the paired bootstrap's).
        rows_needed: for INCONCLUSIVE, about how many labelled rows would decide; None: no number of rows would.
        level: one-sided level at which the challenger had to be better; None where it was held against no champion:
            there is none, or what it costs was not within the budgets.
        noisy: INCONCLUSIVE for nothing but a busy machine: measured again, it may be decided.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    gates: tuple[GateResult, ...]
    against: Mapping[str, Interval]
    champion_version: str | None
    rows: int
    rows_needed: int | None = None
    level: float | None = None
    noisy: bool = False


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An exported model, ready to be judged by what it would cost and do in production.

    Attributes:
        graph: path of the ONNX file: raw columns in, `probability` out.
        digest: SHA-256 of that file.
        parity: largest absolute difference to the native model on the test rows.
        p99_ms: 99th percentile of answering one raw row, by the graph alone, tensors in hand.
        served_p99_ms: the same over HTTP in the real server, logged before it is answered: what the budget bounds.
            None where it was not measured.
    """

    framework: str
    graph: Path
    digest: str
    parity: float
    size_mb: float
    p99_ms: float
    served_p99_ms: float | None = None
    latency: Latency | None = None
    """The rounds behind `served_p99_ms`."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version of a project's model."""

    name: str
    version: str
    run_id: str
    digest: str
    aliases: tuple[str, ...]
    created: datetime
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Release:
    """Who serves since when, by whose decision.

    Attributes:
        at: when it was decided, on the clock; of a release from before there was `data_until`, what its writer claimed.
        action: what the ledger calls it, one of `core.ledger.Action`; not all of them make the version the champion.
        data_until: the time of the data: what was decided rests on rows before it, and in a replay it is when it
            happened. None where nobody said.
        identity: what is known of whoever decided it, see `core.identity`; None for one from before that was kept.
    """

    project: str
    version: str
    previous: str | None
    at: datetime
    reason: str
    decided_by: str
    action: str = "promote"
    data_until: datetime | None = None
    identity: Mapping[str, Any] | None = field(default_factory=identity, compare=False)


class Scorer(Protocol):
    """Anything that answers raw rows with probabilities: the ONNX graph, wherever it runs."""

    def __call__(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Probability of the positive class, float32 (rows,)."""
        ...


def model_params(training: Training) -> dict[str, Any]:
    """Training parameters as a flat mapping, for logging; the project's own (`extra`) beside the platform's."""
    import dataclasses

    return {key: value for key, value in dataclasses.asdict(training).items() if key != "extra"} | dict(training.extra)
