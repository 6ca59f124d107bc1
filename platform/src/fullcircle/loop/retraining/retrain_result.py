"""What a retrain came to: its data, candidates, verdict and registered version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.records.verdicts import Candidate, Evaluation, Verdict

if TYPE_CHECKING:
    from fullcircle.core.records.dataset import DataVersion


@dataclass(frozen=True, kw_only=True)
class RetrainResult:
    """What a retrain came to.

    Attributes:
        run_id: the parent run, under which each candidate has its own.
        evaluations: framework -> how it did on the test rows, the baseline and the champion included.
        version: the challenger as registered; it is the champion when `promoted`.
    """

    project: str
    run_id: str
    winner_run_id: str
    data: DataVersion
    evaluations: dict[str, Evaluation]
    winner: str
    candidate: Candidate
    verdict: Verdict
    version: ModelVersion
    promoted: bool
