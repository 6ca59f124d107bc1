"""Answers are written for people in their task's own unit, and read by what it says of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fullcircle.core.tasks import Binary, Multiclass, Multilabel, Regression, Task
from fullcircle.core.tasks.answer_format import rounded, with_unit

WINE = Multiclass("wine", ("red", "white", "rosé"))
TAGS = Multilabel("tags", ("new", "loud"))
WAIT = Regression("wait", unit="minutes", loss="quantile")
LATE = Binary("late", "late", threshold=0.3)


@pytest.mark.parametrize(
    ("number", "like", "text"),
    [
        (0.0, None, "0"),
        (7.314, None, "7.31"),
        (1234567.0, None, "1,230,000"),
        (0.0456, None, "0.0456"),
        (1.2e9, None, "1.2e+09"),
        (-0.001, 200.0, "0"),
        (12.3456, 200.0, "12"),
        (math.nan, None, "nan"),
        (math.inf, 1.0, "inf"),
    ],
)
def test_numbers_are_rounded_as_people_write_them(number: float, like: float | None, text: str) -> None:
    assert rounded(number, like) == text


def test_probabilities_are_in_per_cent_and_predictions_in_the_targets_unit() -> None:
    share, minutes = WINE.answer_format, WAIT.answer_format

    assert (share.value(0.125), share.effect(0.042, 1.0), share.amount(0.042, 1.0)) == ("12.5%", "+4.2", "4.2")
    assert (minutes.value(7.314), minutes.effect(-2.5, 9.0), minutes.effect(2.5, 9.0)) == (
        "7.31 minutes",
        "-2.50",
        "+2.50",
    )
    assert Regression("price").answer_format.value(3.0) == "3.00"
    assert with_unit("Prediction", minutes.unit) == "Prediction, minutes"
    assert with_unit("Prediction", "") == "Prediction"


def test_a_target_whose_unit_is_per_cent_is_no_share() -> None:
    assert Regression("humidity", unit="%").answer_format.value(45.0) == "45.0 %"


@pytest.mark.parametrize(
    ("task", "explained"),
    [
        (LATE, ("probability",)),
        (WINE, ("p_red", "p_white", "p_rosé")),
        (WAIT, ("prediction",)),
        (TAGS, ("p_new", "p_loud")),
    ],
)
def test_explained_are_the_numbers_from_which_the_others_follow(task: Task, explained: tuple[str, ...]) -> None:
    assert task.explained == explained
    assert set(task.explained) <= set(task.answers.numbers)


def test_the_answer_that_was_given_is_the_likeliest_one_or_the_only_one() -> None:
    three = np.array([[0.1, 0.7, 0.2], [0.4, 0.4, 0.2]], dtype="float32")

    assert WINE.given(three).tolist() == [1, 0]
    assert WAIT.given(three).tolist() == [0, 0]
    assert LATE.given(three[:, :2]).tolist() == [0, 0]


def test_a_target_is_shown_in_words() -> None:
    assert (LATE.shown(1), LATE.shown(0)) == ("yes", "no")
    assert WINE.shown(np.int16(2)) == "rosé"
    assert (TAGS.shown(np.array([1, 1])), TAGS.shown(np.array([0, 0]))) == ("new, loud", "none")
    assert WAIT.shown(12.0) == "12.0 minutes"


def test_which_answers_are_right_is_the_tasks_to_say() -> None:
    answers = np.array([[0.4, 1.0], [0.6, 0.0]], dtype="float32")

    assert LATE.right(np.array([1, 1]), answers).tolist() == [True, False]  # by the decision, where there is one
    assert Binary("late", "late").right(np.array([1, 1]), answers[:, 0]).tolist() == [False, True]
    assert WINE.right(np.array([1, 1]), np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])).tolist() == [True, False]
    assert TAGS.right(np.array([[0, 1], [0, 1]]), answers).tolist() == [True, False]
    assert WAIT.right(np.array([1.0]), np.zeros((1, 3))) is None


def test_a_part_of_an_answer_comes_true_for_a_rows_class_or_for_each_of_its_labels() -> None:
    assert WINE.happened(np.array([0, 2, 2]), 2).tolist() == [False, True, True]
    assert TAGS.happened(np.array([[0, 1], [1, 1]]), 1).tolist() == [True, True]


def test_the_middle_is_one_half_of_a_probability_and_the_median_of_other_answers() -> None:
    assert Binary("late", "late").from_middle(np.array([0.1, 0.5])) == pytest.approx([0.4, 0.0])
    assert WAIT.from_middle(np.array([[1.0, 0, 0], [5.0, 0, 0], [30.0, 0, 0]])).tolist() == [4.0, 0.0, 25.0]
