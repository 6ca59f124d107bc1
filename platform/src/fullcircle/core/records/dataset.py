"""Values of the data stages: data version, contract report, leakage report, split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class DataVersion:
    """One immutable training set, named by its DVC hash.

    Attributes:
        digest: DVC hash of the folder (`<md5>.dir`).
        pointer: text of the `.dvc` file; with it and the remote, `restore` brings exactly these bytes back.
        files: (relative path, md5) of each partition, sorted.
        start, end: first and last event time, UTC.
        fingerprint: SHA-256 over column names and types.
    """

    project: str
    digest: str
    pointer: str
    files: tuple[tuple[str, str], ...]
    rows: int
    size_bytes: int
    start: datetime
    end: datetime
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One broken rule of the data contract: how many rows broke it and up to three of their ids."""

    column: str
    rule: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ContractReport:
    """What the data contract says of one batch."""

    project: str
    rows: int
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was broken."""
        return not self.violations


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a split: rows from `start` to `end`, both inclusive; `summary` of their targets, as the task says."""

    start: datetime
    end: datetime
    rows: int
    summary: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One way in which the answer or the future would reach training."""

    kind: str
    detail: str
    column: str = ""


@dataclass(frozen=True, kw_only=True)
class LeakageReport:
    """What the leakage check looked at and what it found.

    Attributes:
        leaks: what must be mended; empty when the split is clean.
        strongest: (column, how strongly it alone tells the target of the training rows, on the scale of ROC AUC),
            strongest first.
    """

    leaks: tuple[Leak, ...]
    strongest: tuple[tuple[str, float], ...]

    @property
    def ok(self) -> bool:
        """Whether no leak was found."""
        return not self.leaks


@dataclass(frozen=True, kw_only=True)
class Split:
    """Training, validation and test rows in the order of time, and what the leakage check said."""

    train: Span
    validation: Span
    test: Span
    leakage: LeakageReport


@dataclass(frozen=True, kw_only=True)
class SplitFrames:
    """The rows of a `Split`, with input columns, target, time and row id; what is known only afterwards is left out."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
