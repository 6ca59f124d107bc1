"""What each kind of problem says of its labels, its answers and its metrics."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from fullcircle.core.errors import ProjectInvalid, TargetInvalid
from fullcircle.core.project import AtLeast, NotWorse, Number, Project
from fullcircle.core.statistics import binary_metrics, intervals
from fullcircle.core.tasks import Binary, Multiclass, Multilabel, Regression, Task

LATE = Binary("late", "arrived late")
STORM = Multiclass("status", ("depression", "storm", "hurricane"))
COUNT = Regression("count", loss="quantile")
TAGS = Multilabel("tags", ("red", "green", "blue"))
EVERY = (LATE, STORM, COUNT, TAGS)


def project_of(task: Task, **fields: Any) -> Project:
    """A project of two columns with that target."""
    columns = (Number("distance"), Number("gust"))
    made: dict[str, Any] = {"name": "p", "owner": "o@example.com", "columns": columns, "time": "t", "row_id": "id"}
    return Project(**made | fields, target=task, torch=lambda inputs, params: None)


def sample(task: Task, rows: int = 3000, seed: int = 0) -> tuple[Any, Any, Any]:
    """Targets, and two models' answers to them that are about as good."""
    draw = np.random.default_rng(seed)
    if task.kind == "regression":
        y = np.exp(draw.standard_normal(rows)) + 1.0
        both = [np.sort(y[:, None] * (1 + 0.3 * draw.standard_normal((rows, 3))), axis=1)[:, [1, 0, 2]] for _ in "ab"]
        return y, *(each.astype(np.float32) for each in both)
    if task.kind == "multilabel":
        y = (draw.random((rows, 3)) < [0.5, 0.3, 0.2]).astype(np.int8)
    elif task.kind == "binary":
        y = (draw.random(rows) < 0.3).astype(np.int8)
    else:
        y = draw.choice(3, rows, p=[0.5, 0.35, 0.15]).astype(np.int16)
        both = [np.exp(np.eye(3)[y] + draw.standard_normal((rows, 3))) for _ in "ab"]
        return y, *((each / each.sum(axis=1, keepdims=True)).astype(np.float32) for each in both)
    both = [1 / (1 + np.exp(-(1.5 * y - 0.7 + draw.standard_normal(y.shape)))) for _ in "ab"]
    return y, *(each.astype(np.float32) for each in both)


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.kind)
def test_every_metric_has_its_value_inside_its_interval_and_its_difference_is_that_of_the_values(task: Task) -> None:
    y, a, b = sample(task)
    assert task.fault(a, len(y)) is None
    for metric in task.metrics.values():
        found, without_draws = metric.interval(y, a, 1), metric.interval(y, a, None)
        assert found.value == pytest.approx(metric.value(y, a))
        assert found.low <= found.value <= found.high
        assert without_draws.high - without_draws.low == pytest.approx(found.high - found.low, rel=0.4, abs=1e-4)
        for difference in (metric.difference(y, a, b, 1), metric.test(y, a, b, 1)):
            assert difference.value == pytest.approx(metric.value(y, a) - metric.value(y, b), abs=1e-9)
            assert difference.low < difference.value < difference.high
        same = metric.difference(y, a, a, 1)
        assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
        if metric.per_row is not None:
            assert float(metric.per_row(y, a).mean()) == pytest.approx(metric.value(y, a))


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.kind)
def test_few_rows_widen_every_interval(task: Task) -> None:
    y, a, b = sample(task, rows=24, seed=5)
    for metric in task.metrics.values():
        if metric.undefined(y) is None:
            assert metric.interval(y, a, 1).high > metric.interval(y, a, 1).low
            assert metric.difference(y, a, b, 1).high > metric.difference(y, a, b, 1).low


def test_the_metrics_are_those_that_scikit_learn_knows() -> None:
    y, p, _ = sample(STORM)
    p = p.astype(float) / p.astype(float).sum(axis=1, keepdims=True)
    said = p.argmax(axis=1)
    assert STORM.metrics["roc_auc"].value(y, p) == pytest.approx(reference.roc_auc_score(y, p, multi_class="ovr"))
    assert STORM.metrics["log_loss"].value(y, p) == pytest.approx(reference.log_loss(y, p))
    assert STORM.metrics["accuracy"].value(y, p) == pytest.approx(reference.accuracy_score(y, said))
    assert STORM.metrics["macro_f1"].value(y, p) == pytest.approx(reference.f1_score(y, said, average="macro"))
    assert STORM.metrics["roc_auc.storm"].value(y, p) == pytest.approx(reference.roc_auc_score(y == 1, p[:, 1]))
    labels, answers, _ = sample(TAGS)
    for average in ("micro", "macro"):
        known = reference.f1_score(labels, answers >= 0.5, average=average)
        assert TAGS.metrics[f"{average}_f1"].value(labels, answers) == pytest.approx(known)
    assert TAGS.metrics["roc_auc"].value(labels, answers) == pytest.approx(reference.roc_auc_score(labels, answers))
    exact = reference.accuracy_score(labels, answers >= 0.5)
    assert TAGS.metrics["subset_accuracy"].value(labels, answers) == pytest.approx(exact)
    t, q, _ = sample(COUNT)
    assert COUNT.metrics["mae"].value(t, q) == pytest.approx(reference.mean_absolute_error(t, q[:, 0]))
    assert COUNT.metrics["rmse"].value(t, q) == pytest.approx(reference.root_mean_squared_error(t, q[:, 0]))
    assert COUNT.metrics["r2"].value(t, q) == pytest.approx(reference.r2_score(t, q[:, 0]))
    assert COUNT.metrics["mape"].value(t, q) == pytest.approx(reference.mean_absolute_percentage_error(t, q[:, 0]))
    lines = [reference.mean_pinball_loss(t, q[:, column], alpha=alpha) for column, alpha in enumerate(COUNT.quantiles)]
    assert COUNT.metrics["pinball"].value(t, q) == pytest.approx(float(np.mean(lines)))
    poisson = Regression("count", loss="poisson").metrics["poisson_deviance"]
    assert poisson.value(t, q[:, 0]) == pytest.approx(reference.mean_poisson_deviance(t, q[:, 0]))


@pytest.mark.parametrize("rows", [40, 3000])
def test_the_metrics_of_a_binary_task_are_to_the_bit_what_they_were_as_functions(rows: int) -> None:
    y, a, _ = sample(LATE, rows=rows)
    for name in ("roc_auc", "log_loss", "brier", "calibration_error"):
        function = getattr(binary_metrics, name)
        assert LATE.metrics[name].value(y, a) == function(y, a)
        assert LATE.metrics[name].interval(y, a, 7) == intervals.metric_interval(y, a, function, seed=7)


@pytest.mark.parametrize(
    ("task", "labels", "codes"),
    [
        (LATE, [0, 1, True, False, np.bool_(True), 1.0, Decimal(1)], [0, 1, 1, 0, 1, 1, 1]),
        (LATE, np.array([False, True]), [0, 1]),
        (Binary("churn", "left", ("no", "yes")), pd.Categorical(["yes", "no"]), [1, 0]),
        (Binary("churn", "left", ("no", "yes")), pd.Series(["yes", "no"], dtype="string"), [1, 0]),
        (STORM, ["hurricane", "depression"], [2, 0]),
        (Multiclass("digit", tuple(range(10))), np.array([9, 0, 3]), [9, 0, 3]),
        (COUNT, [1, 2.5, Decimal("0.5")], [1.0, 2.5, 0.5]),
        (TAGS, [["red"], [], ("blue", "green")], [[1, 0, 0], [0, 0, 0], [0, 1, 1]]),
        (Multilabel("t", ("a", "b"), separate=True), pd.DataFrame({"a": [1, 0], "b": [True, True]}), [[1, 1], [0, 1]]),
    ],
)
def test_labels_are_taken_as_people_have_them(task: Task, labels: Any, codes: Any) -> None:
    assert task.label_codec.encode(labels).tolist() == codes


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [
        (LATE, [0, 1, 2, 2], "target 'late' is 0 or 1, but 2 of 4 rows are not: 2 (2)"),
        (LATE, ["yes", "no"], "'no' (1), 'yes' (1)"),
        (LATE, ["0", "1"], "2 of 2 rows"),
        (LATE, [0.0, np.nan], "nan (1)"),
        (LATE, [0, None, pd.NaT], "NaT (1), None (1)"),
        (STORM, ["storm", "gale"], "is one of the 3 classes, but 1 of 2 rows are not: 'gale' (1)"),
        (COUNT, [1.0, np.inf, np.nan, True, "7"], "is a finite number, and no integer beyond 2^53, but"),
        (Regression("n", transform="log1p"), [-0.5, 1.0], "at least 0, and no integer beyond 2^53, but 1 of 2"),
        (Regression("n", loss="poisson"), [-1.0, 1.0], "at least 0, and no integer beyond 2^53, but 1 of 2"),
        (TAGS, [["red"], ["pink"], "red", None], "3 of 4 rows"),
    ],
)
def test_a_label_that_does_not_fit_is_named_with_its_column_and_what_to_do(task: Task, labels: Any, said: str) -> None:
    with pytest.raises(TargetInvalid) as error:
        task.label_codec.encode(np.array(labels, dtype=object) if task is not TAGS else pd.Series(labels))
    assert said in error.value.what
    assert "\n" not in str(error.value)
    assert error.value.hint
    assert error.value.exit_code == 2


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.text(), max_size=3)
)


@given(cells=st.lists(ANYTHING, min_size=1, max_size=20))
def test_whether_a_label_fits_is_answered_for_whatever_a_cell_holds(cells: list[object]) -> None:
    column = pd.Series(cells, dtype=object)
    for task in EVERY:
        held = task.label_codec.holds(column)
        assert held.shape == (len(cells),)
        assert len(task.label_codec.codes(column[held])) == int(held.sum())


@pytest.mark.parametrize(
    ("task", "parts", "said"),
    [
        (LATE, {"training": [0, 1], "test": [1, 1]}, "all 2 test rows are of one class: target 'late' is 1 in each"),
        (STORM, {"training": [0, 1], "test": [1, 2]}, "no training row is of class 'hurricane', but the test rows"),
        (STORM, {"training": [0, 1, 2], "test": [1, 1]}, "all 2 test rows are of one class"),
        (COUNT, {"training": [3.0, 3.0]}, "target 'count' is 3 in each"),
        (TAGS, {"training": [[1, 0, 1], [0, 0, 0]]}, "'green' is the same in all 2 training rows"),
    ],
)
def test_targets_that_nothing_can_be_learned_from_are_refused(task: Task, parts: Any, said: str) -> None:
    with pytest.raises(TargetInvalid) as error:
        task.require_learnable({part: np.array(targets) for part, targets in parts.items()})
    assert said in error.value.what


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber", "quantile", "poisson"])
@pytest.mark.parametrize("transform", [None, "log1p"])
def test_training_targets_of_a_number_come_back_exactly_through_the_link(loss: Any, transform: Any) -> None:
    if loss == "poisson" and transform:
        return
    task = Regression("n", loss=loss, transform=transform)
    y = np.random.default_rng(1).gamma(2.0, 50.0, size=500)
    link = task.link(y, task.weighting(y, balanced=True))
    raw = task.training_targets(y, link).astype(np.float64)
    back = raw * np.exp(link.offset[0]) if link.name == "exp" else raw * link.scale + link.offset[0]
    back = np.expm1(back) if link.inverse else back
    assert back == pytest.approx(y, rel=1e-5)
    if link.name != "exp":
        assert abs(raw.mean()) < 1e-5
        assert raw.std() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("balanced", [True, False])
def test_every_row_has_one_weight_by_its_class(balanced: bool) -> None:
    targets = np.array([0, 0, 0, 1], dtype=np.float32)
    weighting = LATE.weighting(targets, balanced=balanced)
    assert weighting.rows(targets).tolist() == (pytest.approx([2 / 3, 2 / 3, 2 / 3, 2]) if balanced else [1, 1, 1, 1])


def test_a_row_of_several_labels_has_one_weight() -> None:
    task = Multilabel("tags", ("a", "b", "c"))
    assert task.weighting(np.ones((4, 3)), balanced=True).rows(np.ones((4, 3))).tolist() == [1.0] * 4


def test_a_percentage_error_says_why_it_is_not_defined() -> None:
    assert COUNT.metrics["mape"].undefined(np.array([1.0, 0.0, 2.0])) == (
        "the target is 0 in 1 of 3 rows, where a share of it is not defined"
    )


def test_worse_is_a_share_of_the_expected_error_and_an_absolute_fall_of_an_area() -> None:
    assert LATE.main.fall(0.70, 0.66) == pytest.approx(0.04)
    assert COUNT.main.fall(50.0, 60.0) == pytest.approx(0.2)
    assert COUNT.main.fall(50.0, 40.0) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Binary("y", "yes", ("a", "a")),
        lambda: Binary("y", "yes", ("a", "b", "c")),  # type: ignore[arg-type]
        lambda: Multiclass("y", ("a", "b")),
        lambda: Multiclass("y", ("a", "b", "a")),
        lambda: Multiclass("y", (1, "1", 2)),
        lambda: Multilabel("y", ("a",)),
        lambda: Regression("y", coverage=1.0),
        lambda: Regression("y", loss="log"),  # type: ignore[arg-type]
        lambda: Regression("y", loss="poisson", low=-1.0),
        lambda: Regression("y", loss="poisson", transform="log1p"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ProjectInvalid, match="'y'"):
        make()


@given(scale=st.floats(1e-6, 1e6), off=st.floats(1e-4, 1e-2))
def test_answers_with_a_unit_differ_in_standard_deviations_and_probabilities_as_they_are(
    scale: float, off: float
) -> None:
    far = np.array([[1.0, 0.0, 2.0], [2.0, 1.0, 3.0], [6.0, 5.0, 7.0]], dtype=np.float32) * np.float32(scale)
    moved = far + np.float32(scale * off) * np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32)
    found = COUNT.answers.largest_difference(moved, far)
    assert found == pytest.approx(off / np.std([0.0, 1.0, 5.0]), rel=0.02)
    chances = np.array([0.2, 0.8], dtype=np.float32)
    assert LATE.answers.largest_difference(chances + np.float32(off), chances) == pytest.approx(off, rel=0.01)
    assert COUNT.answers.largest_difference(far[:0], far[:0]) == 0.0


@pytest.mark.parametrize("task", [LATE, STORM, COUNT, TAGS], ids=lambda task: task.kind)
def test_answers_go_into_a_frame_and_come_back_and_say_the_likeliest_class_in_words(task: Task) -> None:
    _, answers, _ = sample(task, rows=50)
    answers = answers if answers.ndim == 1 or answers.shape[1] > 1 else answers[:, 0]
    frame = pd.DataFrame(task.answers.by_name(answers))
    assert tuple(frame.columns) == task.answers.numbers
    np.testing.assert_array_equal(task.answers.of(frame), answers)
    words = task.answers.words(answers)
    assert tuple(words) == task.answers.texts
    for name in words:
        assert list(words[name]) == [str(task.classes[index]) for index in answers.argmax(axis=1)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", [LATE, STORM, COUNT, TAGS], ids=lambda task: task.kind)
def test_a_project_may_be_of_any_kind_and_none_of_its_columns_may_be_called_as_an_answer_is(task: Task) -> None:
    assert {gate.metric for gate in project_of(task).gates if isinstance(gate, AtLeast)} == set(task.floors)
    for name in task.answers.names:
        with pytest.raises(ProjectInvalid, match=name):
            project_of(task, columns=(Number("x"), Number(name)))


def test_a_project_that_names_no_gates_has_those_of_its_task() -> None:
    assert project_of(LATE).gates == (AtLeast("roc_auc", 0.55), NotWorse("log_loss", 0.01))
    assert project_of(LATE, gates=()).gates == ()


def test_a_column_may_not_be_named_as_an_answer_is() -> None:
    with pytest.raises(ProjectInvalid, match=r"not have a name that the platform uses itself, got \['probability'\]"):
        project_of(LATE, columns=(Number("probability"),))


def test_classes_whose_names_come_out_alike_keep_a_metric_each() -> None:
    task = Multiclass("kind", classes=("a b", "a_b", "a?b", "c"))
    assert [name for name in task.metrics if name.startswith("roc_auc.")] == [
        "roc_auc.a_b_1",
        "roc_auc.a_b",
        "roc_auc.a_b_3",
        "roc_auc.c",
    ]
    labels = tuple(f"{'x' * 90}{number}" for number in range(300))
    assert sum(name.startswith("roc_auc.") for name in Multilabel("tags", labels=labels).metrics) == 300


@pytest.mark.parametrize(
    "inexact", [2**53 + 1, -(2**53) - 1, 2**63, 10**400, Decimal(2**53 + 1), np.int64(2**53 + 1), np.uint64(2**64 - 1)]
)
def test_an_integer_that_float64_does_not_have_is_no_target_whatever_it_is_kept_in(inexact: Any) -> None:
    wide = Regression("n", high=3e38)
    assert wide.label_codec.holds(np.array([inexact, 1], dtype=object)).tolist() == [False, True]
    if isinstance(inexact, np.generic):
        assert wide.label_codec.holds(np.array([inexact, 1], dtype=inexact.dtype)).tolist() == [False, True]
    assert wide.label_codec.holds(pd.Series([2**53, -(2**53)])).all()
    assert wide.label_codec.holds(np.array([1e30, 0.1, Decimal("0.1")], dtype=object)).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_ends_of_a_targets_range_are_inside_it_in_either_precision(kind: type) -> None:
    assert Regression("n", low=0.1, high=0.3).label_codec.holds(np.array([0.1, 0.3], dtype=kind)).all()
    assert not Regression("n", low=0.1, high=0.3).label_codec.holds(np.array([0.0999, 0.3001], dtype=kind)).any()
    assert not Regression("n", loss="poisson").label_codec.holds(np.array([-1e-30], dtype=kind)).any()
