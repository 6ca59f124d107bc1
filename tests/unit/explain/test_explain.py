"""SHAP on raw columns: additive, one value a column, and pictures of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import DataUnavailable, HomeUnwritable, UsageError
from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.explain.explained_answers import ExplainedAnswers
from fullcircle.explain.plots import summary_plot, waterfall
from fullcircle.explain.shap_values import BACKGROUND_ROWS, Explanation, explain


@pytest.fixture(scope="module")
def project() -> Project:
    return Project(
        name="boxes",
        owner="tests@example.com",
        columns=(Number("weight"), Category("maker"), Number("idle"), Number("late", after=True)),
        target=Binary("broke", "broke within a week"),
        time="at",
        row_id="box",
        torch=lambda inputs, params: None,
    )


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "weight": random.normal(size=300),
            "maker": random.choice(["a", "b", ""], 300),
            "idle": random.normal(size=300),
            "box": [f"b{i}" for i in range(300)],
        }
    )
    frame.loc[::9, "weight"] = np.nan
    return frame


def score(frame: pd.DataFrame) -> np.ndarray:
    """Depends on weight and maker, and on both together; never on `idle`. Insists on the raw convention."""
    assert frame["weight"].dtype == np.float32
    assert all(isinstance(value, str) for value in frame["maker"])
    weight = frame["weight"].fillna(0.5).to_numpy()
    return (1 / (1 + np.exp(-(weight + 2 * (frame["maker"] == "a") * (1 + weight))))).to_numpy().astype(np.float32)


@pytest.fixture(scope="module")
def explanation(project: Project, frame: pd.DataFrame) -> Explanation:
    return explain(score, project, frame.iloc[:200], frame.iloc[200:], seed=4, limit=30)


def test_base_and_values_add_up_to_the_probability(explanation: Explanation, frame: pd.DataFrame) -> None:
    rows = frame.set_index("box").loc[list(explanation.row_ids)]
    answers = score(rows.astype({"weight": "float32"}))
    np.testing.assert_allclose(explanation.answers, answers, atol=1e-7)
    np.testing.assert_allclose(explanation.base + explanation.values.sum(axis=1), answers, atol=1e-6)


def test_each_raw_column_has_one_value(explanation: Explanation) -> None:
    assert explanation.columns == ("weight", "maker", "idle")
    assert explanation.values.shape == (30, 3)
    assert len(set(explanation.row_ids)) == 30


def test_a_column_that_does_nothing_gets_nothing(explanation: Explanation) -> None:
    np.testing.assert_allclose(explanation.values[:, 2], 0, atol=1e-7)
    assert [name for name, _ in explanation.importance()][-1] == "idle"


def test_the_values_are_shapley_s_for_a_sum(project: Project, frame: pd.DataFrame) -> None:
    def line(rows: pd.DataFrame) -> np.ndarray:
        return (0.5 + 0.1 * rows["idle"] + 0.2 * (rows["maker"] == "a")).to_numpy().astype(np.float32)

    background = frame.iloc[:BACKGROUND_ROWS]
    found = explain(line, project, background, frame.iloc[100:110])
    idle, is_a = frame["idle"].astype("float32"), (frame["maker"] == "a").astype(float)
    np.testing.assert_allclose(found.values[:, 2], 0.1 * (idle[100:110] - idle[:BACKGROUND_ROWS].mean()), atol=1e-6)
    np.testing.assert_allclose(found.values[:, 1], 0.2 * (is_a[100:110] - is_a[:BACKGROUND_ROWS].mean()), atol=1e-6)


def test_the_same_seed_explains_the_same_rows_the_same_way(
    project: Project, frame: pd.DataFrame, explanation: Explanation
) -> None:
    again = explain(score, project, frame.iloc[:200], frame.iloc[200:], seed=4, limit=30)
    assert again.row_ids == explanation.row_ids
    assert again.values.tobytes() == explanation.values.tobytes()


def test_a_category_that_the_background_never_shows_is_explained(project: Project, frame: pd.DataFrame) -> None:
    strange = frame.iloc[:2].assign(maker="zzz")
    found = explain(score, project, frame.iloc[100:150], strange)
    assert found.rows["maker"].tolist() == ["zzz", "zzz"]
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), found.answers, atol=1e-6)


def test_without_rows_there_is_nothing_to_explain(project: Project, frame: pd.DataFrame) -> None:
    for background, rows in ((frame, frame.iloc[:0]), (frame.iloc[:0], frame)):
        with pytest.raises(DataUnavailable, match="'boxes': no rows to explain"):
            explain(score, project, background, rows)


def test_the_pictures_are_pngs(explanation: Explanation, tmp_path: Path) -> None:
    for path in (
        summary_plot(explanation, tmp_path / "new" / "summary.png"),
        waterfall(explanation, 0, tmp_path / "row.png"),
    ):
        content = path.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(content) > 10_000


def test_many_columns_still_fit_the_pictures(tmp_path: Path) -> None:
    names = tuple(f"column {i}" for i in range(40))
    wide = Explanation(
        columns=names,
        values=np.zeros((3, 40)),  # nothing moves anything: no empty axis may break the plot
        base=np.array(0.5),
        answers=np.full(3, 0.5),
        row_ids=("a", "b", "c"),
        rows=pd.DataFrame(np.nan, index=range(3), columns=list(names), dtype="float32"),
        explained=ExplainedAnswers(Binary("broke", "broke"), (0,)),
    )
    assert summary_plot(wide, tmp_path / "summary.png").is_file()
    assert waterfall(wide, 2, tmp_path / "row.png").is_file()


def test_a_row_that_is_not_there_has_no_waterfall(explanation: Explanation, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no explained row 30: there are 30"):
        waterfall(explanation, 30, tmp_path / "row.png")


def test_a_folder_that_cannot_be_written_is_said_in_one_line(explanation: Explanation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HomeUnwritable, match="cannot write to"):
        summary_plot(explanation, tmp_path / "file" / "summary.png")


def test_columns_categories_and_row_ids_that_look_like_formulas_are_drawn(
    explanation: Explanation, tmp_path: Path
) -> None:
    columns = tuple(f"$x^{{$ {name}" for name in explanation.columns)
    rows = explanation.rows.set_axis(
        [f"$x^{{$ {name}" if name in explanation.columns else name for name in explanation.rows.columns], axis=1
    ).assign(**{columns[1]: "$y_{$"})
    odd = dataclasses.replace(
        explanation,
        columns=columns,
        rows=rows,
        row_ids=("$z^{$",) * len(explanation.row_ids),
        explained=ExplainedAnswers(Binary("broke", "$o^{$"), (0,)),
    )
    assert summary_plot(odd, tmp_path / "summary.png").stat().st_size > 10_000
    assert waterfall(odd, 0, tmp_path / "waterfall.png").stat().st_size > 5_000
