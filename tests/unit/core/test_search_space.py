"""Ranges of a search: what they hold, how they are written as words, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fullcircle.core.errors import ProjectInvalid, UsageError
from fullcircle.core.project import Binary, Choice, Integer, LogUniform, Number, Project, Training, Uniform
from fullcircle.core.project.overrides import overridden
from fullcircle.core.project.search_arguments import default_search, search_of, setting
from fullcircle.core.project.search_space import Range

PROJECT = Project(
    name="tickets",
    owner="ops@example.com",
    columns=(Number("x"),),
    target=Binary("y", positive="yes"),
    time="hour",
    row_id="id",
    torch=lambda inputs, params: None,
    training=Training(learning_rate=1e-3, extra={"hidden": (64, 32), "dropout": 0.2, "keras": {"hidden": (32,)}}),
)

numbers = st.floats(-1e9, 1e9, allow_nan=False).map(lambda number: float(f"{number:.12g}"))
plain = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), numbers, st.text(max_size=5))


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Any range that can be made."""
    kind = draw(st.sampled_from(("uniform", "log", "integer", "choice")))
    if kind == "choice":
        values = draw(st.lists(st.one_of(plain, st.lists(st.integers(1, 9), max_size=3)), min_size=2, max_size=5))
        assume(len({json.dumps(value) for value in values}) == len(values))
        return Choice(*values)
    if kind == "integer":
        low, high = sorted(draw(st.lists(st.integers(1, 10**6), min_size=2, max_size=2, unique=True)))
        return Integer(low, high, draw(st.booleans()))
    low_f, high_f = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
    if kind == "uniform":
        return Uniform(low_f, high_f)
    assume(low_f > 0)
    return LogUniform(low_f, high_f)


@given(ranges())
def test_a_range_holds_its_extremes_and_is_read_back_from_the_word_that_says_it(each: Range) -> None:
    assert all(each.holds(value) for value in each.extremes)
    # To be the very same, a whole range is one of a parameter that is whole now.
    name = "training.epochs" if isinstance(each, Integer) else "training.dropout"
    assert search_of(PROJECT, [f"{name}={each}"]) == {name: each}


@given(ranges(), plain)
def test_what_a_range_holds_lies_within_it(each: Range, value: Any) -> None:
    if each.holds(value):
        if isinstance(each, Choice):
            assert json.dumps(value) in each.texts
        else:
            assert each.low <= value <= each.high and not isinstance(value, bool)


@given(st.one_of(plain, st.lists(st.integers(1, 9), max_size=3)))
def test_the_word_that_sets_a_parameter_sets_it_to_just_that_value(value: Any) -> None:
    assert overridden(PROJECT, [setting("training.dropout", value)]).training.extra["dropout"] == value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1, 1), "Uniform: low must be below high, both finite, got 1 and 1"),
        (lambda: Uniform(0, math.inf), "both finite"),
        (lambda: Uniform(math.nan, 1), "both finite"),
        (lambda: Uniform("0", 1), "both finite"),  # type: ignore[arg-type]
        (lambda: LogUniform(0, 1), "LogUniform: low must be above 0 on a logarithmic scale, got 0"),
        (lambda: Integer(1, 2.5), "Integer: its ends must be whole numbers, got 2.5"),  # type: ignore[arg-type]
        (lambda: Integer(0, 5, log=True), "above 0"),
        (lambda: Choice(1), "two or more different values"),
        (lambda: Choice((1, 2), [1, 2]), "two or more different values"),
        (lambda: Choice(1, math.nan), "must be plain"),
        (lambda: Choice(1, object()), "must be plain"),
    ],
)
def test_a_range_that_is_none_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"training.learnig_rate": Uniform(0, 1)}, r"did you mean training\.learning_rate\?"),
        ({"learning_rate": Uniform(0, 1)}, r"did you mean training\.learning_rate\?"),
        ({"training.seed": Integer(1, 9)}, "lucky"),
        ({"training.extra": Choice(1, 2)}, "named directly"),
        ({"training.keras": Choice(1, 2)}, "there are training.epochs"),
        ({"compute.threads": Integer(1, 2)}, "be a parameter of training"),
        ({"training.dropout": (0, 1)}, "be a Uniform, LogUniform, Integer or Choice"),
        ([("training.dropout", Uniform(0, 1))], "search must be a mapping"),
    ],
)
def test_a_project_whose_search_does_not_fit_is_refused(search: Any, message: str) -> None:
    with pytest.raises(ProjectInvalid, match=message):
        dataclasses.replace(PROJECT, search=search)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("training.droput=0..1", r"got 'training\.droput'; did you mean training\.dropout\?"),
        ("training.dropout", r"project 'tickets' says no range of training\.dropout"),
        ("training.dropout=much", "no range 'much'"),
        ("training.dropout=5", "neither two ends nor a list"),
        ("training.dropout=1..0", "low must be below high"),
        ("training.dropout=[0.1]", "two or more different values"),
    ],
)
def test_a_word_that_is_no_range_is_refused_with_how_one_is_written(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        search_of(PROJECT, [word])
    assert refused.value.hint


def test_two_whole_ends_mean_any_number_where_the_parameter_is_one_now() -> None:
    assert search_of(PROJECT, ["training.dropout=0..1"]) == {"training.dropout": Uniform(0, 1)}
    assert search_of(PROJECT, ["training.epochs=1..9"]) == {"training.epochs": Integer(1, 9)}


def test_words_go_before_what_the_project_says_and_a_bare_name_takes_its_range() -> None:
    project = dataclasses.replace(
        PROJECT, search={"training.dropout": Uniform(0, 0.4), "training.hidden": Choice((64,), (64, 32))}
    )
    assert search_of(project, []) == project.search
    assert search_of(project, ["training.dropout"]) == {"training.dropout": Uniform(0, 0.4)}


def test_a_project_that_says_nothing_searches_around_what_it_has() -> None:
    found = default_search(PROJECT.training)
    assert found == {
        "training.learning_rate": LogUniform(1e-4, 1e-2),
        "training.batch_size": Choice(256, 512, 1024),
    }
    assert search_of(PROJECT, []) == found
