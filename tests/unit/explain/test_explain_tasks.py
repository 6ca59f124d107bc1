"""SHAP of answers of every kind: additive for each number, in the task's words and unit, bounded for many classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from fullcircle.core.project import Binary, Category, Image, Multiclass, Multilabel, Number, Project, Regression, Task
from fullcircle.core.row_tensors import pixels
from fullcircle.explain.explained_answers import MOST_ANSWERS, ExplainedAnswers
from fullcircle.explain.heat_maps import heat_maps
from fullcircle.explain.image_values import ImageExplanation, explain_images
from fullcircle.explain.plots import summary_plot, waterfall
from fullcircle.explain.shap_values import Explanation, explain
from fullcircle.loop.retraining.explain_challenger import _column_table, _patch_table

COLUMNS = (Number("weight"), Category("maker"), Number("idle"))
TASKS = (
    Binary("late", "late", threshold=0.3),
    Multiclass("wine", ("red", "white", "rosé")),
    Multilabel("tags", ("new", "loud")),
    Regression("count", unit="rentals", loss="quantile"),
    Regression("ratio"),
)


def project_of(task: Task, columns: tuple[Any, ...] = COLUMNS) -> Project:
    return Project(
        name="boxes",
        owner="tests@example.com",
        columns=columns,
        target=task,
        time="at",
        row_id="box",
        torch=lambda inputs, params: None,
    )


def rows_of(rows: int, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "weight": random.normal(size=rows),
            "maker": random.choice(["a", "b", ""], rows),
            "idle": random.normal(size=rows),
            "box": [f"b{i}" for i in range(rows)],
        }
    )


def scorer(task: Task, seed: int = 0):
    """Answers that depend on weight, maker and both together, and never on `idle`."""
    width = len(task.answers.numbers)
    weights = np.random.default_rng(seed).normal(size=(3, width))

    def score(frame: pd.DataFrame) -> np.ndarray:
        weight, is_a = frame["weight"].to_numpy(dtype="float64"), frame["maker"].to_numpy() == "a"
        raw = np.exp(np.column_stack([weight, is_a, weight * is_a]) @ weights)
        if task.answer_format.is_share:
            raw = raw / raw.sum(axis=1, keepdims=True) if task.answers.texts else raw / (1 + raw)
        return raw.astype(np.float32).reshape(task.answers.shape(len(frame)))

    return score


def explained(task: Task, rows: int = 30, limit: int = 100, seed: int = 0) -> Explanation:
    return explain(scorer(task, seed), project_of(task), rows_of(80, 2), rows_of(rows, 3), seed=seed, limit=limit)


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


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}-{task.name}")
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 6))
def test_base_and_values_add_up_to_each_number_of_the_answer(task: Task, seed: int, rows: int) -> None:
    found = explained(task, rows=rows, seed=seed)

    answers = scorer(task, seed)(rows_of(rows, 3).astype({"weight": "float32"})).reshape(rows, -1)
    wanted = answers[:, [task.answers.numbers.index(name) for name in task.explained]]
    np.testing.assert_allclose(found.answers.reshape(rows, -1), wanted, rtol=1e-6)
    sums = found.base + found.values.sum(axis=1)
    np.testing.assert_allclose(sums.reshape(rows, -1), wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("task", "shape"),
    [(TASKS[0], (30, 3)), (TASKS[1], (30, 3, 3)), (TASKS[2], (30, 3, 2)), (TASKS[3], (30, 3))],
    ids=lambda each: getattr(each, "kind", ""),
)
def test_several_numbers_have_values_of_their_own_and_one_has_none_to_share(task: Task, shape: tuple[int, ...]) -> None:
    found = explained(task)

    assert found.values.shape == shape
    assert found.explained.names == task.explained
    assert found.importance()[-1] == ("idle", pytest.approx(0.0, abs=1e-6))


def test_importance_is_summed_over_the_classes() -> None:
    found = explained(TASKS[1])

    assert dict(found.importance())["weight"] == pytest.approx(float(np.abs(found.values[:, 0]).mean(axis=0).sum()))


def test_a_row_is_explained_by_the_class_that_it_was_given() -> None:
    found = explained(TASKS[1])

    likeliest = found.answers.argmax(axis=1)
    assert found.given.tolist() == likeliest.tolist()
    np.testing.assert_array_equal(found.given_answers, found.answers.max(axis=1))
    np.testing.assert_array_equal(found.given_values[5], found.values[5, :, likeliest[5]])
    np.testing.assert_allclose(found.given_base + found.given_values.sum(axis=1), found.given_answers, atol=1e-6)


def test_of_a_thousand_classes_each_rows_own_is_explained_and_the_picture_says_how_many(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    task = Multiclass("model", tuple(f"m{index}" for index in range(1000)))
    found = explained(task, rows=60)

    assert found.values.shape == (60, 3, MOST_ANSWERS)
    whole = scorer(task)(found.rows)
    names = np.array(found.explained.names)
    assert names[found.given].tolist() == [f"p_m{place}" for place in whole.argmax(axis=1)]
    summary_plot(found, tmp_path / "summary.png")
    assert any("100 of 1,000 classes" in text for text in texts(drawn[0]))


def test_the_most_frequent_classes_are_explained_before_the_likeliest_ones() -> None:
    task = Multiclass("model", ("a", "b", "c", "d"))
    answers = np.array([[0.4, 0.35, 0.25, 0], [0.4, 0.35, 0.25, 0], [0, 0.3, 0.3, 0.4]], dtype="float32")

    assert ExplainedAnswers.among(task, answers, most=2).names == ("p_a", "p_d")
    assert ExplainedAnswers.among(task, answers, most=3).names == ("p_a", "p_b", "p_d")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (TASKS[0], ("What moves the probability", "Effect on each row, percentage points")),
        (TASKS[1], ("What moves the probabilities", "Effect on each row's likeliest class, percentage points")),
        (TASKS[2], ("What moves the probabilities", "Mean effect, all labels, points")),
        (TASKS[3], ("What moves the prediction", "Mean effect, rentals")),
        (TASKS[4], ("What moves the prediction", "Mean effect")),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_the_summary_speaks_of_the_tasks_answers_in_their_unit(
    task: Task, said: tuple[str, ...], tmp_path: Path, drawn: list[Figure]
) -> None:
    summary_plot(explained(task), tmp_path / "summary.png")

    assert set(said) <= set(texts(drawn[0]))


def test_a_waterfall_is_of_the_likeliest_class_or_the_prediction(tmp_path: Path, drawn: list[Figure]) -> None:
    wine, count = explained(TASKS[1]), explained(TASKS[3])
    waterfall(wine, 0, tmp_path / "wine.png")
    waterfall(count, 0, tmp_path / "count.png")

    name = ("red", "white", "rosé")[int(wine.given[0])]
    assert f"Why the probability of {name} is {wine.given_answers[0]:.1%}" in texts(drawn[0])
    assert f"Probability of {name}, %" in texts(drawn[0])
    assert "Prediction, rentals" in texts(drawn[1])
    assert not any("robability" in text for text in texts(drawn[1]))


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_row_or_two_are_explained_and_drawn(task: Task, rows: int, tmp_path: Path) -> None:
    found = explained(task, rows=rows)

    assert summary_plot(found, tmp_path / "summary.png").stat().st_size > 5_000
    assert waterfall(found, rows - 1, tmp_path / "row.png").stat().st_size > 5_000


def test_hostile_names_are_drawn_in_one_line_and_cut(hostile: str, tmp_path: Path, drawn: list[Figure]) -> None:
    task = Multiclass("wine", (f"</script>\x1b[31m{hostile}", "x" * 1024, "$y_{$"))
    found = explained(task)
    for row in range(3):
        one = dataclasses.replace(found, answers=np.eye(3)[np.full(30, row)])
        waterfall(one, row, tmp_path / f"{row}.png")
    unit = Regression("count", unit=hostile * 3)
    summary_plot(explained(unit), tmp_path / "summary.png")

    shown = [text for figure in drawn for text in texts(figure)]
    assert any("</script>\\x1b[31m" in text for text in shown)
    assert not any("\x1b" in text or "\n" in text for text in shown)
    assert max(map(len, shown)) < 150


@pytest.mark.parametrize("task", TASKS[1:3], ids=lambda task: task.name)
def test_the_kept_values_name_the_number_that_they_are_of(task: Task) -> None:
    found = explained(task)
    table = _column_table(found)

    assert list(table.columns) == ["row_id", "answer", "weight", "maker", "idle"]
    assert len(table) == 30 * len(task.explained)
    last = table[(table["row_id"] == found.row_ids[7]) & (table["answer"] == task.explained[-1])]
    assert last["weight"].item() == found.values[7, 0, -1]


def test_a_raw_column_that_is_called_answer_does_not_hide_the_answers_name() -> None:
    found = explained(TASKS[1])
    renamed = dataclasses.replace(found, columns=("answer", "_answer", "idle"))

    assert list(_column_table(renamed).columns) == ["row_id", "__answer", "answer", "_answer", "idle"]


SCAN = Image("scan", shape=(4, 4, 1), high=1)


def scans(rows: int, seed: int, **targets: Any) -> pd.DataFrame:
    images = np.random.default_rng(seed).uniform(0, 1, (rows, 16)).astype("float32")
    return pd.DataFrame({"scan": list(images), "box": [f"s{i}" for i in range(rows)], **targets})


def looks(task: Task):
    def score(frame: pd.DataFrame) -> np.ndarray:
        raw = np.exp(3 * pixels(frame["scan"], SCAN)[:, : len(task.answers.numbers)])
        return (raw / raw.sum(axis=1, keepdims=True)).astype("float32").reshape(task.answers.shape(len(frame)))

    return score


def explained_images(task: Task, rows: pd.DataFrame) -> ImageExplanation:
    return explain_images(looks(task), project_of(task, (SCAN,)), scans(40, 1), rows, seed=2)


def test_images_are_explained_by_their_likeliest_class_and_the_surest_come_first(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    task = Multiclass("digit", (3, 7, 9))
    rows = scans(60, 5, digit=np.random.default_rng(1).choice([3, 7, 9], 60))
    found = explained_images(task, rows)
    heat_maps(found, tmp_path / "heat.png")

    np.testing.assert_allclose(found.base + found.values.sum(axis=(1, 2)), found.answers, atol=1e-6)
    surest = np.sort(looks(task)(rows).max(axis=1))[::-1]
    np.testing.assert_array_equal(found.answers[:4], surest[:4].astype("float64"))
    np.testing.assert_array_equal(found.answers[-4:], surest[-4:].astype("float64"))
    labels = rows.set_index("box")["digit"].loc[list(found.row_ids)]
    assert found.right is not None
    assert found.right.tolist() == [str(label) == part for label, part in zip(labels, found.parts, strict=True)]
    title = f"answer {found.parts[0]} ({found.answers[0]:.0%}), label {labels.iloc[0]}"
    assert title in texts(drawn[0])
    assert set(_patch_table(found)["answer"]) <= {"p_3", "p_7", "p_9"}


@pytest.mark.parametrize("rows", [1, 20])
def test_images_of_other_tasks_are_drawn_in_their_words(rows: int, tmp_path: Path, drawn: list[Figure]) -> None:
    ink = explained_images(Regression("ink", unit="grey"), scans(rows, 3, ink=np.linspace(0, 9, rows)))
    tags = explained_images(Multilabel("tags", ("new", "loud")), scans(rows, 3, tags=[["new"]] * rows))
    heat_maps(ink, tmp_path / "ink.png")
    heat_maps(tags, tmp_path / "tags.png")

    assert ink.right is None
    assert "Effect of a pixel or patch on the prediction, grey" in texts(drawn[0])
    assert not any("robability" in text or "right" in text for text in texts(drawn[0]))
    assert any(text.endswith("label new") and text.startswith("top ") for text in texts(drawn[1]))
