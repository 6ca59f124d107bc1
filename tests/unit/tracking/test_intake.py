"""What a training tells of a step is found good, or refused in one line, before it is kept."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import UsageError
from fullcircle.tracking.intake import Intake
from fullcircle.tracking.repeats import Repeats
from fullcircle.tracking.spool.entries import unpacked

NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(width=32).map(np.float32),
    st.floats().map(np.float64),
    st.integers(-(2**31), 2**31).map(np.int64),
    st.fractions(),
    st.floats(allow_nan=False).map(repr),
)


@given(values=st.dictionaries(st.sampled_from("abcdefgh"), NUMBERS))
def test_whatever_float_takes_is_told_as_float_has_it(values: dict[str, float]) -> None:
    names, packed, step = Intake(Repeats()).new(values, np.int64(3))  # type: ignore[arg-type]
    assert (names, step, type(step)) == (tuple(values), 3, int)
    for found, value in zip(unpacked(packed), values.values(), strict=True):
        assert found == float(value) or (math.isnan(found) and math.isnan(value))


@given(first=st.sets(st.sampled_from("abcdef")), then=st.lists(st.sampled_from("abcdef"), unique=True))
def test_of_a_step_that_is_told_again_only_what_is_new_is_told_with_its_own_values(
    first: set[str], then: list[str]
) -> None:
    intake = Intake(Repeats())
    intake.new(dict.fromkeys(first, 0.0), 1)
    names, packed, _ = intake.new({name: float(ord(name)) for name in then}, 1)
    new = [name for name in then if name not in first]
    assert dict(zip(names, unpacked(packed), strict=True)) == {name: float(ord(name)) for name in new}


@pytest.mark.parametrize("value", [None, "high", [1.0, 2.0], np.array([1.0, 2.0]), 10**400, 1j], ids=range(6))
def test_a_value_that_is_no_number_is_refused_by_name_and_nothing_of_the_call_is_remembered(value: object) -> None:
    intake = Intake(Repeats())
    with pytest.raises(UsageError, match="metric 'loss' is no number"):
        intake.new({"good": 1.0, "loss": value}, 1)  # type: ignore[dict-item]
    assert not intake.has("good", 1)
    names, _, _ = intake.new({"good": 1.0, "loss": Fraction(1, 2)}, 1)  # type: ignore[dict-item]
    assert names == ("good", "loss")
