"""A card, and what differs from the champion, speak of each kind of target in its own words and unit."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from fullcircle.core.project import (
    AgreementGate,
    Binary,
    Category,
    Multiclass,
    Multilabel,
    Number,
    Project,
    Regression,
    Task,
)
from fullcircle.core.records.dataset import DataVersion, LeakageReport, Span, Split
from fullcircle.core.records.training import RunRef
from fullcircle.core.records.verdicts import Verdict
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.evaluation.disagreement import disagreement, with_agreement
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.tracking.registry.model_card import SHOWN_METRICS, model_card

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
REF = RunRef(run_id="r" * 32, framework="torch", seed=1, commit="c" * 40, dirty=False, environment="e" * 64)
COUNT = Regression("count", unit="rentals", loss="quantile")


def project_of(task: Task) -> Project:
    return Project(
        name="shop",
        owner="tests@example.com",
        columns=(Category("kind"), Number("weight")),
        target=task,
        time="at",
        row_id="box",
        torch=lambda inputs, params: None,
        gates=(AgreementGate(share=0.5, margin=0.25),),
    )


def sample(task: Task, rows: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    """Raw rows and answers to them."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"kind": random.choice(["a", "b"], rows), "weight": random.normal(size=rows)})
    answers = random.uniform(0.1, 0.9, (rows, len(task.answers.numbers)))
    if task.answers.texts:
        answers = answers / answers.sum(axis=1, keepdims=True)
    return frame, answers.astype("float32").reshape(task.answers.shape(rows))


def card_of(task: Task, target: Any, found: Any = None) -> str:
    project = project_of(task)
    frame, answers = sample(task)
    frame[task.name] = target
    summary = task.summary(task.targets(frame))
    span = Span(start=START, end=END, rows=60, summary=summary)
    data = DataVersion(
        project="shop", digest="d.dir", pointer="", files=(), rows=60, size_bytes=1, start=START, end=END,
        fingerprint="f",
    )  # fmt: skip
    split = Split(train=span, validation=span, test=span, leakage=LeakageReport(leaks=(), strongest=()))
    evaluated = evaluate(project, "torch", frame, answers)
    return model_card(project, REF, data, split, {"torch": evaluated}, None, None, found)


def test_a_regressions_card_is_in_the_unit_of_its_target() -> None:
    card = card_of(COUNT, np.linspace(0, 90, 60))

    assert "mae (rentals)" in card
    assert "It answers with count in rentals" in card
    assert "probability" not in card
    assert "positive" not in card
    assert "1 numeric and 1 categorical raw columns" in card


def test_a_card_of_many_classes_stays_a_page() -> None:
    task = Multiclass("model", tuple(f"m{index}" for index in range(300)))
    card = card_of(task, [f"m{index % 30}" for index in range(60)])

    head = next(line for line in card.splitlines() if line.startswith("| model | rows"))
    assert head.count("|") == SHOWN_METRICS + 3
    assert "more metrics are in evaluation/ of the run" in card
    assert "and 288 more" in card
    assert len(card) < 10_000


def test_a_card_shows_how_each_actual_class_is_answered_the_weakest_first() -> None:
    task = Multiclass("wine", ("red", "white", "rosé"))
    card = card_of(task, ["red"] * 30 + ["white"] * 20 + ["rosé"] * 10)

    lines = card.split("## Each actual class")[1].splitlines()
    head, _, *rows = [line for line in lines if line.startswith("|")][:5]
    assert head == "| wine | rows | recall | minus champion |"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert sorted((name, rows, what) for name, rows, _, what in cells) == [
        ("red", "30", ""),
        ("rosé", "10", "too few rows to judge"),
        ("white", "20", ""),
    ]
    recalls = [float(recall.split()[0]) for *_, recall, _ in cells]
    assert recalls == sorted(recalls)
    assert "## Slices" not in card, "no column is sliced by"


def test_a_hostile_class_means_nothing_in_a_card(hostile: str) -> None:
    task = Multiclass("wine", (f"</script>\x1b[31m{hostile}", "x" * 1024, "a|b"))
    card = card_of(task, [task.classes[index % 3] for index in range(60)])

    assert "\x1b" not in card
    assert "<script" not in MarkdownIt("commonmark", {"html": True}).enable("table").render(card)
    head, _, *rows = [line for line in card.splitlines() if line.startswith("|")][:3]
    assert [line.replace("\\|", "").count("|") for line in rows] == [head.replace("\\|", "").count("|")]


@pytest.mark.parametrize(
    ("task", "label", "outcome"),
    [
        (Binary("late", "late"), 1.0, 1),
        (Multiclass("wine", ("red", "white", "rosé")), 2.0, "rosé"),
        (Multilabel("tags", ("new", "loud")), [1, 0], "new"),
        (COUNT, 12.5, "12.5 rentals"),
    ],
    ids=lambda each: getattr(each, "kind", ""),
)
def test_the_rows_that_differ_most_tell_their_outcome_in_words(task: Task, label: Any, outcome: int | str) -> None:
    frame, answers = sample(task, 40)
    labels = pd.Series([label, None] * 20, dtype=object if isinstance(label, list) else "float64")
    frame = frame.assign(label=labels, prediction_id=[str(i) for i in range(40)], row_id=[f"r{i}" for i in range(40)])
    found = disagreement(
        project_of(task), frame, champion=answers, challenger=answers[::-1], answered=40, start=START, end=END
    )

    by_row = {each.row_id: each.label for each in found.largest}
    assert by_row
    assert all(label == (None if int(row[1:]) % 2 else outcome) for row, label in by_row.items())


def test_how_far_predictions_are_apart_is_told_in_the_targets_unit_and_its_spread() -> None:
    frame, answers = sample(COUNT, 40)
    frame = frame.assign(label=np.nan, prediction_id="p", row_id="r")
    found = disagreement(
        project_of(COUNT), frame, champion=answers, challenger=answers + 7, answered=40, start=START, end=END
    )
    card = card_of(COUNT, np.linspace(0, 90, 60), found)
    verdict = Verdict(outcome=Outcome.PROMOTE, reasons=("better",), gates=(), against={}, champion_version="1", rows=60)
    judged = with_agreement(verdict, project_of(COUNT), found)

    assert "7.00 rentals on average" in card
    assert "by more than 0.25 standard deviations." in card
    assert "by more than 0.25 standard deviations from the champion's" in judged.gates[0].detail
    yes = with_agreement(verdict, project_of(Binary("late", "late")), dataclasses.replace(found))
    assert "by more than 0.25 from the champion's" in yes.gates[0].detail
