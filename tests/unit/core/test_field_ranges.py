"""Each number that a project may say has a range, which holds wherever it is said."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.core import cost
from fullcircle.core.errors import ProjectInvalid, UsageError
from fullcircle.core.field_ranges import ranged
from fullcircle.core.project import (
    AgreementGate,
    AtLeast,
    Better,
    Binary,
    Choice,
    Compute,
    Image,
    Integer,
    NotWorse,
    Number,
    Project,
    SliceGate,
    Training,
    Uniform,
    columns,
    definition,
    gates,
    operation,
    parameters,
)
from fullcircle.core.project.loading import load_project
from fullcircle.core.project.overrides import overridden
from fullcircle.core.project.search_arguments import search_of

SAMPLE = Project(
    name="p",
    owner="o",
    columns=(Number("x"),),
    target=Binary("y", positive="yes"),
    time="t",
    row_id="i",
    torch=lambda inputs, params: None,
    training=Training(extra={"dropout": 0.1}),
)
NEEDED: Mapping[str, Mapping[str, Any]] = {
    "Project": {each.name: getattr(SAMPLE, each.name) for each in dataclasses.fields(SAMPLE)},
    "AtLeast": {"metric": "roc_auc", "threshold": 0.5},
    "NotWorse": {"metric": "roc_auc", "margin": 0.5},
    "Better": {"metric": "roc_auc"},
    "SliceGate": {"column": "x", "metric": "roc_auc", "drop": 0.1},
    "Number": {"name": "x"},
    "Category": {"name": "x"},
    "Image": {"name": "x", "shape": (1, 1, 1)},
    "Binary": {"name": "x", "positive": "y"},
}
"""What is given of the kinds that have no default for all."""

KINDS = [
    kind
    for module in (definition, parameters, operation, gates, columns, cost)
    for kind in vars(module).values()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
]
"""All dataclasses of the contract: those that a later version adds, too."""

FIELDS = [pytest.param(kind, field, id=f"{kind.__name__}.{field}") for kind in KINDS for field, _ in ranged(kind)]


def made(kind: type, **given: Any) -> Any:
    return kind(**{**NEEDED.get(kind.__name__, {}), **given})


def test_there_is_something_to_look_at() -> None:
    assert {Training, Compute, AtLeast, NotWorse, Better, SliceGate, AgreementGate, Number, Image, Project} <= set(
        KINDS
    )
    assert len(FIELDS) > 40


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_number_and_every_span_of_time_has_a_finite_range_that_its_default_is_in(kind: type, field: str) -> None:
    within = dict(ranged(kind))[field]
    assert within is not None, f"say what {kind.__name__}.{field} may be: Annotated[..., Within(low, high)]"
    assert within.low <= within.high
    assert isinstance(within.high, timedelta) or math.isfinite(within.high)
    made(kind)


@pytest.mark.parametrize(("kind", "field"), FIELDS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_is_out_of_range_is_refused_with_field_rule_and_value(kind: type, field: str, data: Any) -> None:
    within = dict(ranged(kind))[field]
    assert within is not None
    is_span = isinstance(within.low, timedelta)
    outside = st.one_of(
        *([] if is_span else [st.floats(max_value=float(within.low), exclude_max=True), st.just(float("nan"))]),
        *([] if is_span else [st.floats(min_value=float(within.high), exclude_min=True), st.booleans()]),
        *([] if is_span else [st.sampled_from([10**400, -(10**400), 10**5000, -(10**5000), 2**63 * 10**40])]),
        *([st.timedeltas(max_value=within.low - timedelta.resolution)] if is_span else []),
        *([st.just(timedelta.max), st.integers(), st.floats()] if is_span else []),
        *([st.just(within.low)] if within.above else []),
        *([st.just(within.high)] if within.below else []),
        st.sampled_from(["1", "nan", [1], (), {}, object(), 1 + 0j, np.True_]),
    )
    value = data.draw(outside)
    with pytest.raises(ProjectInvalid, match=rf"{field} must be .*, got ") as refused:
        made(kind, **{field: value})
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_both_ends_of_a_range_are_inside_it_unless_it_says_otherwise(kind: type, field: str) -> None:
    within = dict(ranged(kind))[field]
    assert within is not None
    for end, left_out in ((within.low, within.above), (within.high, within.below)):
        if not left_out and kind not in (Number, Image):  # whose low and high mind each other
            assert getattr(made(kind, **{field: end}), field) == end


@pytest.mark.parametrize(
    "word",
    [
        *("training.clip_norm=-1", "training.clip_norm=0", "training.clip_norm=NaN", "training.seed=-1"),
        *("training.seed=4294967296", "training.learning_rate=1e400", "training.learning_rate=-Infinity"),
        *("training.learning_rate=1e-400", "training.learning_rate=0", "training.learning_rate=true"),
        *("training.batch_size=0", "training.batch_size=1", "training.batch_size=9223372036854775808"),
        *("training.epochs=0", "training.patience=0", "training.epochs=" + "9" * 5000, "compute.threads=0"),
        *("compute.checkpoint_every_steps=0", "compute.checkpoint_every_s=0", "compute.accumulate=0", "compute.keep=0"),
        *("compute.max_restarts=-1", "compute.stall_s=0", "compute.grace_s=-1", "compute.budget_s=NaN"),
        *("training.dropout=1e400", "training.dropout=[1, NaN]", "training.class_weights=1"),
    ],
)
def test_set_refuses_it_before_anything_is_made(word: str) -> None:
    with pytest.raises(UsageError, match=rf"{word.partition('=')[0]} must (be|have) ") as refused:
        overridden(SAMPLE, [word])
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"training.epochs": Integer(0, 5)},
        lambda: {"training.epochs": Integer(1, 10**7)},
        lambda: {"training.epochs": Uniform(1, 5)},
        lambda: {"training.clip_norm": Uniform(0, 1)},
        lambda: {"training.learning_rate": Uniform(-1, 1)},
        lambda: {"training.learning_rate": Choice(1e-3, 0)},
        lambda: {"training.batch_size": Choice(64, 1)},
        lambda: {"training.class_weights": Choice(True, 0)},
    ],
)
def test_a_search_whose_ends_no_training_would_take_is_refused_in_project_py(make: Callable[[], Any]) -> None:
    with pytest.raises(ProjectInvalid, match=r"every value of search\['training\.\w+'\] must be "):
        dataclasses.replace(SAMPLE, search=make())


@pytest.mark.parametrize(
    "word", [f"training.dropout=0..1{'0' * 400}", f"training.dropout=-1{'0' * 30}..1", "training.dropout=0..1e400"]
)
def test_an_end_of_a_search_beyond_64_bits_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="no range"):
        search_of(SAMPLE, [word])


def test_what_one_framework_alone_is_given_has_the_same_range() -> None:
    with pytest.raises(ProjectInvalid, match=r"training.extra\['keras'\]\['seed'\] must be a whole number .*, got -1"):
        Training(extra={"keras": {"seed": -1}})


def test_whole_numbers_of_numpy_become_plain_ones() -> None:
    assert type(Training(epochs=np.int64(3)).epochs) is int  # type: ignore[arg-type]


def test_the_file_and_the_line_are_named_of_a_part_that_does_not_know_its_project(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "project.py").write_text(
        "from fullcircle.core.project import Training\n\ntraining = Training(clip_norm=-1)\n"
    )
    with pytest.raises(ProjectInvalid, match=r"project\.py, line 3: training\.clip_norm must be .*, got -1"):
        load_project("mine", tmp_path)


@pytest.mark.parametrize("after", [timedelta(days=-1), 5, None])
def test_labels_cannot_come_before_what_they_are_of(after: Any) -> None:
    with pytest.raises(ProjectInvalid, match="project 'p': labels_after must be a timedelta from 0:00:00 to "):
        dataclasses.replace(SAMPLE, labels_after=after)


def test_a_columns_range_is_in_order() -> None:
    with pytest.raises(ProjectInvalid, match="the range of column 'x' must have low at most high, got 2 and 1"):
        Number("x", low=2, high=1)
    assert NotWorse("log_loss", 0).margin == 0
