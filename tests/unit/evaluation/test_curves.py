"""What pictures of evaluations draw, of every kind of task: right, bounded, and readable whatever the names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.tasks import Binary, Multiclass, Multilabel, Regression, Task
from fullcircle.evaluation.curve_plots import PLOTS
from fullcircle.evaluation.curves import CURVES, MATRIX_CLASSES, POINTS, RELIABILITY_CLASSES, REST
from fullcircle.evaluation.plots import comparison_plot

WINE = Multiclass("wine", ("red", "white", "rosé"))
MANY = Multiclass("model", tuple(f"model {index}" for index in range(1000)))
TAGS = Multilabel("tags", tuple(f"tag {index}" for index in range(9)))
COUNT = Regression("count", unit="rentals", loss="quantile")


def sample(task: Task, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets and answers that tell something of them."""
    random = np.random.default_rng(seed)
    width = len(task.answers.numbers)
    if not task.answer_format.is_share:
        y = np.exp(random.normal(3, 2, rows))
        middle = y * np.exp(random.normal(0, 0.5, rows))
        return y, np.column_stack([middle, middle / 2, middle * 2])[:, :width].astype("float32")
    if not task.answers.texts:
        y = (random.random((rows, width)) < 0.3).astype("int8").reshape(task.answers.shape(rows))
        return y, (1 / (1 + np.exp(1 - 3 * y - random.normal(size=y.shape)))).astype("float32")
    y = random.integers(0, width, rows).astype("int16")
    raw = random.normal(size=(rows, width))
    raw[np.arange(rows), y] += 3
    return y, (np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)).astype("float32")


def evaluation(task: Task, rows: int, seed: int = 0) -> Evaluation:
    y, answers = sample(task, rows, seed)
    names = {task.primary, *(name for name in task.metrics if name == "calibration_error")}
    return Evaluation(
        framework="torch",
        rows=rows,
        summary=task.summary(y),
        metrics={name: task.metrics[name].interval(y, answers, 0) for name in names},
        slices=(),
        curves={name: CURVES[name](task, y, answers) for name in task.plots},
    )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were drawn, to be read."""
    found: list[Figure] = []
    save = Figure.savefig

    def kept(figure: Figure, *args: Any, **how: Any) -> None:
        found.append(figure)
        save(figure, *args, **how)

    monkeypatch.setattr(Figure, "savefig", kept)
    return found


@pytest.mark.parametrize("task", [Binary("late", "late"), WINE, TAGS, COUNT], ids=lambda task: task.kind)
def test_every_picture_that_a_task_names_has_values_and_a_drawing(task: Task) -> None:
    assert set(task.plots) <= set(CURVES)
    assert set(task.plots) <= set(PLOTS)


def test_a_confusion_matrix_counts_what_was_answered_for_each_true_class() -> None:
    y = np.array([0, 0, 1, 2], dtype="int16")
    answers = np.eye(3, dtype="float32")[[0, 1, 1, 0]]

    assert CURVES["confusion_matrix"](WINE, y, answers) == ((0, 1, 2), (1, 1, 0), (0, 1, 0), (1, 0, 0))


def test_of_many_classes_the_most_frequent_have_lines_and_no_row_is_lost() -> None:
    y, answers = sample(MANY, 3000)
    y[:500] = 700
    codes, *counts = CURVES["confusion_matrix"](MANY, y, answers)

    assert len(codes) == MATRIX_CLASSES + 1
    assert 700 in codes
    assert codes[-1] == REST
    assert np.sum(counts) == 3000
    assert sum(counts[codes.index(700)]) == np.sum(y == 700)


def test_one_class_is_not_pooled_alone() -> None:
    task = Multiclass("letter", tuple("abcdefghijklm"))

    assert REST not in CURVES["confusion_matrix"](task, *sample(task, 400))[0]


def test_reliability_by_class_says_how_often_what_was_probable_came_true() -> None:
    y, answers = sample(WINE, 3000)
    found = CURVES["reliability_by_class"](WINE, y, answers)

    assert {line[0] for line in found} == {0, 1, 2}
    for code in range(3):
        lines = np.array([line for line in found if line[0] == code])
        assert lines[:, 3].sum() == 3000
        assert np.average(lines[:, 2], weights=lines[:, 3]) == pytest.approx((y == code).mean())
        assert np.average(lines[:, 1], weights=lines[:, 3]) == pytest.approx(answers[:, code].mean(), rel=1e-5)


@pytest.mark.parametrize("task", [TAGS, MANY], ids=lambda task: task.kind)
def test_the_reliability_of_many_classes_is_bounded_and_the_rest_is_pooled(task: Task) -> None:
    found = CURVES["reliability_by_class"](task, *sample(task, 2000))

    assert len({line[0] for line in found}) == RELIABILITY_CLASSES + 1
    assert len(found) <= 10 * (RELIABILITY_CLASSES + 1)
    assert any(line[0] == REST for line in found)


def test_points_and_residuals_are_bounded_and_of_the_prediction_not_its_interval() -> None:
    y, answers = sample(COUNT, 5000)
    points = np.array(CURVES["predicted_against_actual"](COUNT, y, answers))
    groups = np.array(CURVES["residuals"](COUNT, y, answers))

    assert points.shape == (POINTS, 2)
    assert set(points[:, 0]) <= set(y)
    assert set(points[:, 1].astype("float32")) <= set(answers[:, 0])
    assert len(groups) == 10
    assert groups[:, 4].sum() == 5000
    inside = answers[:, 0] >= np.sort(answers[:, 0])[-500]
    errors = y[inside] - answers[inside, 0].astype("float64")
    assert groups[-1, 2] == pytest.approx(np.median(errors))


@pytest.mark.parametrize("rows", [2, 1500])
@pytest.mark.parametrize("task", [Binary("late", "late"), WINE, MANY, TAGS, COUNT, Regression("ratio")],
                         ids=lambda task: f"{task.kind} {task.name}")  # fmt: skip
def test_every_picture_is_drawn_of_many_rows_and_of_few(task: Task, rows: int, tmp_path: Path) -> None:
    y, answers = sample(task, rows)
    if rows == 2 and task.plots == ("reliability",):
        y[:] = 0, 1
    curves = {name: CURVES[name](task, y, answers) for name in task.plots}
    metrics = evaluation(task, 300).metrics
    one = Evaluation(framework="t", rows=rows, summary=task.summary(y), metrics=metrics, slices=(), curves=curves)

    for name in task.plots:
        content = PLOTS[name](task, {"baseline": one, "torch": one}, tmp_path / f"{name}.png").read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(content) > 5_000


def test_an_error_is_drawn_in_the_unit_of_the_target_and_nothing_speaks_of_probability(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    found = {"torch": evaluation(COUNT, 800)}
    for name in COUNT.plots:
        PLOTS[name](COUNT, found, tmp_path / f"{name}.png")

    shown = [text for figure in drawn for text in texts(figure)]
    assert {"actual, rentals", "predicted, rentals", "actual minus predicted, rentals"} <= set(shown)
    assert not any("probab" in text or "positive" in text for text in shown)


def test_a_constant_target_with_equal_predictions_still_has_axes(tmp_path: Path) -> None:
    y, answers = np.full(50, 7.0), np.full((50, 3), 7.0, dtype="float32")
    curves = {name: CURVES[name](COUNT, y, answers) for name in COUNT.plots}
    one = Evaluation(framework="t", rows=50, summary={}, metrics={}, slices=(), curves=curves)

    for name in COUNT.plots:
        assert PLOTS[name](COUNT, {"t": one}, tmp_path / f"{name}.png").stat().st_size > 5_000


def test_hostile_class_names_are_drawn_in_one_line_cut_and_told_apart(
    hostile: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    task = Multiclass("wine", (f"</script>\x1b[31m{hostile}", "x" * 1023 + "y", "x" * 1023 + "z", "$y_{$"))
    found = {hostile: evaluation(task, 400)}
    for name in task.plots:
        PLOTS[name](task, found, tmp_path / f"{name}.png")
    comparison_plot(task, found, tmp_path / "comparison.png")

    shown = [text for figure in drawn[:-1] for text in texts(figure)]
    assert not any("\x1b" in text or "\n" in text for text in shown)
    assert max(map(len, shown)) < 120
    assert {f"{'x' * 13}… #2", f"{'x' * 13}… #3"} <= set(shown)
