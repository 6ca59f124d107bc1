"""Values and ports of training: runs, epochs, arrays, preprocessors and trainers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fullcircle.core.statistics.interval import in_digits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.project.parameters import Training


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
    """What one epoch came to. `epoch` counts from 1.

    Attributes:
        train_loss, validation_loss: mean weighted loss of the rows, in the loss's own unit.
        validation: name of a metric of the task -> its value on the validation rows, the primary metric first.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    validation: Mapping[str, float]
    seconds: float

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> EpochMetrics:
        """From plain values, as `dataclasses.asdict` gives them, or as a version wrote them that knew ROC AUC alone.

        Raises:
            TypeError: a field is missing, or is none of ours.
        """
        values = dict(written)
        if "validation_auc" in values:
            values["validation"] = {"roc_auc": values.pop("validation_auc")}
        return cls(**values)

    @property
    def primary(self) -> tuple[str, float]:
        """Name and value of the primary metric on the validation rows."""
        name, value = next(iter(self.validation.items()))
        return name, value

    @property
    def logged(self) -> dict[str, float]:
        """Losses and metrics by the names under which a run logs them: `validation_auc`, `validation_rmse`."""
        metrics = {f"validation_{short_name(name)}": value for name, value in self.validation.items()}
        return {
            "train_loss": self.train_loss,
            "validation_loss": self.validation_loss,
            **{name: value for name, value in metrics.items() if math.isfinite(value)},
        }

    def __str__(self) -> str:
        name, value = self.primary
        return f"validation loss {self.validation_loss:.4f}, {short_name(name).upper()} {in_digits(value)}"


def short_name(metric: str) -> str:
    """What a metric of the validation rows is called in a run: `auc` is ROC AUC, as it has been from the beginning."""
    return "auc" if metric == "roc_auc" else metric


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Preprocessed rows, in memory or mapped from files.

    Attributes:
        x_train, x_validation: float32 (rows, *shape of a row: features, or height, width and channels).
        y_train, y_validation: the task's targets (codes of classes, or numbers), float32 (rows,), or (rows, labels).
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

    def answers(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers by the native framework, float32, shaped as the task's `answers` says: (rows,) or (rows, numbers)."""
        ...

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph in one file: input `features` (rows, features), output `answers` (rows, numbers)."""
        ...


class Scorer(Protocol):
    """Anything that answers raw rows: the ONNX graph, wherever it runs."""

    def __call__(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Answers, float32, shaped as the task's `answers` says: (rows,) or (rows, numbers)."""
        ...


def model_params(training: Training) -> dict[str, Any]:
    """Training parameters as a flat mapping, for logging; the project's own (`extra`) beside the platform's."""
    import dataclasses

    return {key: value for key, value in dataclasses.asdict(training).items() if key != "extra"} | dict(training.extra)
