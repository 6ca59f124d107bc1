"""Where two models disagree on production rows, and what a project may make of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.project import AgreementGate, Project
from fullcircle.core.records.disagreement import Disagreement
from fullcircle.core.records.verdicts import GateResult, Verdict
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.evaluation.disagreement import disagreement, with_agreement

START, END = datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 4, 29, tzinfo=UTC)
Make = Callable[..., Project]


def logged(rows: int = 300) -> pd.DataFrame:
    """Rows as the prediction log gives them; the last third leaves from LGA, and half of the labels are known."""
    return pd.DataFrame(
        {
            "prediction_id": [f"p{n}" for n in range(rows)],
            "row_id": [f"r{n}" for n in range(rows)],
            "origin": ["EWR", "JFK", "LGA"] * (rows // 3),
            "distance": np.arange(rows, dtype="float32"),
            "label": np.where(np.arange(rows) % 2 == 0, np.arange(rows) % 4 // 2, np.nan),
        }
    )


def compared(project: Project, champion: np.ndarray, challenger: np.ndarray) -> Disagreement:
    return disagreement(
        project, logged(), champion=champion, challenger=challenger, answered=300, start=START, end=END
    )  # fmt: skip


def verdict(outcome: Outcome) -> Verdict:
    gate = GateResult(gate="g", passed=outcome is Outcome.PROMOTE, detail="d")
    return Verdict(
        outcome=outcome, reasons=("d",), gates=(gate,), against={}, champion_version="3", rows=300, rows_needed=900
    )  # fmt: skip


def test_the_slice_and_the_rows_that_differ_most_come_first(project: Project) -> None:
    champion = np.full(300, 0.3, dtype="float32")
    challenger = champion.copy()
    challenger[2::3] += 0.2  # LGA
    challenger[7] = 0.95
    found = compared(project, champion, challenger)

    assert (found.groups[0].group, found.groups[0].rows) == ("LGA", 100)
    assert found.groups[0].mean == pytest.approx(0.2, abs=1e-6)
    first = found.largest[0]
    assert (first.prediction_id, first.row_id, first.label) == ("p7", "r7", None)
    assert first.challenger - first.champion == pytest.approx(0.65, abs=1e-6)
    assert found.largest[1].row_id == "r2" and found.largest[1].label == 1
    assert found.share == pytest.approx(101 / 300)
    assert found.mean_absolute == pytest.approx((100 * 0.2 + 0.65) / 300, abs=1e-6)


def test_models_that_agree_have_no_largest_row(project: Project) -> None:
    same = np.full(300, 0.3, dtype="float32")
    found = compared(project, same, same)
    assert (found.share, found.mean, found.largest) == (0.0, 0.0, ())


def test_rows_without_an_answer_are_counted_and_spoil_no_mean(project: Project) -> None:
    champion = np.full(300, 0.3, dtype="float32")
    challenger = champion + np.float32(0.05)
    challenger[:30] = np.nan
    found = compared(project, champion, challenger)
    assert (found.unanswered, found.share) == (30, 0.1)
    assert found.mean == pytest.approx(0.05, abs=1e-6)


def test_answers_that_do_not_fit_the_rows_are_refused(project: Project) -> None:
    with pytest.raises(ValueError, match="300 rows do not fit answers of shape"):
        compared(project, np.zeros(299, dtype="float32"), np.zeros(300, dtype="float32"))


def test_without_an_agrees_gate_a_disagreement_changes_nothing(project: Project) -> None:
    far = compared(project, np.zeros(300, dtype="float32"), np.ones(300, dtype="float32"))
    before = verdict(Outcome.PROMOTE)
    assert with_agreement(before, project, far) == before


@pytest.mark.parametrize("outcome", Outcome)
def test_a_project_that_minds_rejects_too_large_a_disagreement(make_project: Make, outcome: Outcome) -> None:
    project = make_project(gates=(AgreementGate(share=0.25, margin=0.1),))
    far = compared(project, np.zeros(300, dtype="float32"), np.ones(300, dtype="float32"))
    got = with_agreement(verdict(outcome), project, far)
    assert got.outcome is Outcome.REJECT and got.rows_needed is None
    assert got.reasons[-1].startswith("100.0% of 300 logged answers differ by more than 0.1")
    assert len(got.reasons) == (2 if outcome is Outcome.REJECT else 1)
    assert got.gates[-1].missed_by == pytest.approx(0.75)


@pytest.mark.parametrize("outcome", Outcome)
def test_an_agreement_within_the_bounds_leaves_the_outcome_as_it_is(make_project: Make, outcome: Outcome) -> None:
    project = make_project(gates=(AgreementGate(),))
    near = compared(project, np.full(300, 0.30, dtype="float32"), np.full(300, 0.35, dtype="float32"))
    got = with_agreement(verdict(outcome), project, near)
    assert got.outcome is outcome
    assert got.gates[-1].passed


def test_a_project_that_minds_is_in_doubt_where_nothing_was_logged(make_project: Make) -> None:
    project = make_project(gates=(AgreementGate(),))
    got = with_agreement(verdict(Outcome.PROMOTE), project, None)
    assert got.outcome is Outcome.INCONCLUSIVE and got.reasons[0].startswith("no row of the last window is logged")
    assert with_agreement(verdict(Outcome.REJECT), project, None).outcome is Outcome.REJECT


def test_a_handful_of_logged_rows_says_nothing_of_the_share(make_project: Make) -> None:
    project, rows, champion = make_project(gates=(AgreementGate(),)), logged(3), np.full(3, 0.3, dtype="float32")
    for further in (0.0, 0.6):
        few = disagreement(
            project, rows, champion=champion, challenger=champion + np.float32(further), answered=3,
            start=START, end=END,
        )  # fmt: skip
        got = with_agreement(verdict(Outcome.PROMOTE), project, few)
        assert got.outcome is Outcome.INCONCLUSIVE
        assert got.reasons == ("3 logged answers are too few to say how many differ: it takes 30",)
