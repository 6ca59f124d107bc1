"""Every actual class is a slice: shown for each model, and no challenger may forget one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.project import Multiclass, NotWorse, Project, SliceGate
from fullcircle.core.records.verdicts import GateResult, Verdict
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.tasks.class_slices import FEWEST, MOST
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.evaluation.gate import judge
from fullcircle.evaluation.multiple_testing import fallen_slices
from fullcircle.evaluation.slice_gate import held_gates

Make = Callable[..., Project]
CLASSES = ("calm", "storm", "hurricane", "low")
WIND = Multiclass("wind", CLASSES)


def rows_of(counts: Sequence[int], classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """So many rows of each class, in an order that says nothing."""
    random = np.random.default_rng(5)
    labels = random.permutation(np.repeat(np.array(classes, dtype=object), counts))
    rows = len(labels)
    at = pd.date_range("2024-01-01", periods=rows, freq="min", tz="UTC")
    return pd.DataFrame(
        {"wind": labels, "origin": random.choice(["N", "S"], rows), "distance": np.arange(rows, dtype="float64")}
    ).assign(time=at)


def answers_to(task: Multiclass, frame: pd.DataFrame, strength: float, seed: int = 1) -> np.ndarray:
    """Probabilities of classes by a model that errs the less, the greater its strength."""
    codes = task.targets(frame)
    logits = np.random.default_rng(seed).normal(size=(len(codes), len(task.classes)))
    logits[np.arange(len(codes)), codes] += strength
    exp = np.exp(logits)
    return (exp / exp.sum(axis=1, keepdims=True)).astype("float32")


def without(task: Multiclass, answers: np.ndarray, label: str) -> np.ndarray:
    """The same answers by a model that never thinks of that class."""
    found = answers.copy()
    found[:, task.classes.index(label)] = 1e-4
    return found / found.sum(axis=1, keepdims=True)


def judged(project: Project, frame: pd.DataFrame, challenger: np.ndarray, champion: np.ndarray | None) -> Verdict:
    return judge(
        project,
        frame,
        challenger=challenger,
        baseline=None,
        champion=champion,
        champion_version=None if champion is None else "3",
        evaluation=evaluate(project, "torch", frame, challenger),
        candidate=None,
    )


def class_gate(verdict: Verdict) -> GateResult:
    (gate,) = (each for each in verdict.gates if each.gate.endswith("in each wind"))
    return gate


@pytest.fixture
def project(make_project: Make) -> Project:
    return make_project(target=WIND, gates=(), slices=())


def test_a_better_candidate_that_forgets_one_rare_class_is_rejected_by_its_name(project: Project) -> None:
    frame = rows_of((3000, 1500, 900, 60))
    champion = answers_to(WIND, frame, 1.5)
    challenger = without(WIND, answers_to(WIND, frame, 2.5, seed=2), "low")

    got = judged(project, frame, challenger, champion)

    assert got.against["accuracy"].low > 0, "on the whole it is better"
    assert got.outcome is Outcome.REJECT
    (reason,) = got.reasons
    assert reason.startswith("wind: recall more than 0.1 below version 3's in low by ")
    assert not any(name in reason for name in ("calm", "storm", "hurricane"))


def test_a_candidate_that_is_better_in_every_class_is_promoted(project: Project) -> None:
    frame = rows_of((3000, 1500, 900, 60))

    got = judged(project, frame, answers_to(WIND, frame, 2.5, seed=2), answers_to(WIND, frame, 1.5))

    assert got.outcome is Outcome.PROMOTE
    assert class_gate(got).detail == "wind: in none of 4 groups is recall more than 0.1 below version 3's"


def test_a_class_of_too_few_rows_is_named_and_not_judged(project: Project) -> None:
    frame = rows_of((900, 500, 300, FEWEST - 1))
    champion = answers_to(WIND, frame, 1.5)
    challenger = without(WIND, answers_to(WIND, frame, 2.5, seed=2), "low")

    gate = class_gate(judged(project, frame, challenger, champion))

    assert gate.passed
    assert gate.detail.endswith(
        "in none of 3 groups is recall more than 0.1 below version 3's; too few rows to judge low (19 rows)"
    )
    low = next(
        each for each in evaluate(project, "torch", frame, challenger, champion=champion).slices if not each.judged
    )
    assert (low.group, low.rows, low.judged, low.score.value, low.difference) == ("low", 19, False, 0.0, None)


def test_where_no_class_has_the_rows_nothing_is_said_to_hold(project: Project) -> None:
    frame = rows_of((15, 12, 10, 10))

    gate = class_gate(judged(project, frame, answers_to(WIND, frame, 2.5), answers_to(WIND, frame, 1.5, seed=2)))

    assert (gate.passed, gate.rows_needed) == (False, 63)  # of 47 rows, 15 of the largest class
    assert gate.detail == "wind: no class has the 20 rows on which a fall would show"


def test_the_first_champion_has_nobody_to_fall_below(project: Project) -> None:
    frame = rows_of((300, 200, 100, 50))

    assert class_gate(judged(project, frame, answers_to(WIND, frame, 2.0), None)).passed


@pytest.mark.parametrize("order", [(3, 1, 0, 2), (2, 3, 1, 0)])
def test_the_order_of_the_classes_changes_nothing(make_project: Make, project: Project, order: tuple[int, ...]) -> None:
    frame = rows_of((400, 400, 90, 15))
    champion = answers_to(WIND, frame, 1.5)
    challenger = without(WIND, answers_to(WIND, frame, 2.5, seed=2), "hurricane")
    other = make_project(target=Multiclass("wind", [CLASSES[at] for at in order]), gates=(), slices=())

    a = evaluate(project, "torch", frame, challenger, champion=champion)
    b = evaluate(other, "torch", frame, challenger[:, order], champion=champion[:, order])

    assert [each.group for each in a.slices] == ["calm", "storm", "hurricane", "low"]
    assert a.slices == b.slices
    shuffled = judged(other, frame, challenger[:, order], champion[:, order])
    assert class_gate(judged(project, frame, challenger, champion)) == class_gate(shuffled)


def test_the_score_of_a_class_is_the_share_of_its_rows_that_are_answered_rightly(project: Project) -> None:
    frame = rows_of((300, 200, 100, 50))
    answers = answers_to(WIND, frame, 1.0)
    said = np.array(CLASSES, dtype=object)[answers.argmax(axis=1)]

    for each in evaluate(project, "torch", frame, answers).slices:
        of = frame["wind"].to_numpy() == each.group
        assert (each.column, each.metric, each.rows) == ("wind", "recall", of.sum())
        assert each.score.value == pytest.approx((said[of] == each.group).mean())
        assert each.score.low < each.score.value < each.score.high


@given(st.lists(st.integers(0, 60), min_size=3, max_size=60))
def test_every_row_is_in_one_slice_and_there_are_few_slices(counts: list[int]) -> None:
    task = Multiclass("wind", tuple(f"c{at}" for at in range(len(counts))))
    targets = np.repeat(np.arange(len(counts)), counts)

    found = task.by_class.of(targets)

    assert bool(found) == (max(counts) >= FEWEST)
    assert len(found) <= MOST + 1
    assert all(each.is_judgeable for each in found[:-1])
    if found:
        assert (np.sum([each.mask for each in found], axis=0) == 1).all()


def test_rare_classes_share_a_slice_in_which_a_candidate_that_forgets_them_all_is_found(make_project: Make) -> None:
    classes = tuple(f"model {at}" for at in range(12))
    task = Multiclass("wind", classes)
    frame = rows_of((900, 600, *[8] * 10), classes)
    champion = answers_to(task, frame, 3.5)
    challenger = answers_to(task, frame, 5.0, seed=2)
    for label in classes[2:]:
        challenger = without(task, challenger, label)

    gate = class_gate(judged(make_project(target=task, gates=(), slices=()), frame, challenger, champion))

    assert not gate.passed
    assert "in 10 rarer classes (model 10, model 11, model 2, ...) by " in gate.detail


def test_slices_by_class_and_by_column_are_corrected_together(make_project: Make) -> None:
    frame = rows_of((2000, 1500, 900, 40))
    frame["origin"] = (np.arange(len(frame)) % 20).astype(str)
    by_class, by_origin = SliceGate("wind", "recall", drop=0.0), SliceGate("origin", "accuracy", drop=0.0)
    project = make_project(target=WIND, gates=(by_class, by_origin), slices=())
    champion, targets = answers_to(WIND, frame, 2.0), WIND.targets(frame)
    found = {1: 0, 2: 0}
    for lost in range(1, 15):
        challenger = champion.copy()
        low = np.flatnonzero(targets == CLASSES.index("low"))[:lost]
        challenger[low] = without(WIND, champion[low], "low")
        for gates in ([by_class], [by_class, by_origin]):
            looked_at = fallen_slices(project, frame, targets, gates, challenger=challenger, champion=champion, seed=0)
            assert [number for number, _ in looked_at] == [4, 20][: len(gates)]
            found[len(gates)] += [group for group, _ in looked_at[0][1]] == ["low"]
    assert found[1] > found[2] > 0, "among more slices it takes a larger fall"


def test_equal_models_are_seldom_stopped_by_a_class(project: Project) -> None:
    stopped = 0
    for seed in range(200):
        frame = rows_of((200, 100, 50, 25))
        challenger, champion = (answers_to(WIND, frame, 1.5, seed=2 * seed + one) for one in (0, 1))
        ((looked_at, fallen),) = fallen_slices(
            project,
            frame,
            WIND.targets(frame),
            [SliceGate("wind", "recall", drop=0.0)],
            challenger=challenger,
            champion=champion,
            seed=0,
        )
        assert looked_at == 4
        stopped += bool(fallen)
    assert stopped <= 12  # 5 are expected at 2.5%; 12 or more in one of 200 series


def test_a_projects_own_gate_by_class_takes_the_place_of_the_tasks(make_project: Make, project: Project) -> None:
    assert held_gates(project) == [SliceGate("wind", "recall", drop=0.1)]
    own = SliceGate("wind", "log_loss", drop=0.5)
    assert held_gates(make_project(target=WIND, gates=(own,), slices=("wind", "origin"))) == [own]


def test_a_loss_of_a_class_may_be_gated_too(make_project: Make) -> None:
    frame = rows_of((900, 500, 300, 60))
    project = make_project(target=WIND, gates=(SliceGate("wind", "log_loss", drop=0.5),), slices=())
    champion = answers_to(WIND, frame, 1.5)
    challenger = without(WIND, answers_to(WIND, frame, 2.5, seed=2), "low")

    gate = class_gate(judged(project, frame, challenger, champion))

    assert gate.detail.startswith("wind: log loss more than 0.5 above version 3's in low by ")


def test_what_is_not_defined_on_a_single_class_cannot_be_asked_of_one(make_project: Make) -> None:
    with pytest.raises(ProjectInvalid, match="metrics recall, log_loss in each wind, got 'roc_auc'"):
        make_project(target=WIND, gates=(SliceGate("wind", "roc_auc", drop=0.1),), slices=())
    with pytest.raises(ProjectInvalid, match=r"metrics roc_auc, accuracy, .*roc_auc\.low, got 'rocauc'"):
        make_project(target=WIND, gates=(NotWorse("rocauc", margin=0.1),), slices=())


def test_other_kinds_of_target_have_no_slices_by_class(make_project: Make) -> None:
    project = make_project(gates=())
    assert project.target.by_class is None
    assert held_gates(project) == []
    with pytest.raises(ProjectInvalid, match="slices must name input columns"):
        dataclasses.replace(project, slices=("late",))
