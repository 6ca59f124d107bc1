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
    Category,
    Choice,
    Compute,
    Costs,
    Image,
    Integer,
    Multiclass,
    Multilabel,
    NotWorse,
    Number,
    Project,
    Regression,
    SliceGate,
    Task,
    Torch,
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
from fullcircle.core.tasks import binary, decisions, multiclass, multilabel, regression

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
    "Regression": {"name": "x"},
    "Multiclass": {"name": "x", "classes": ("a", "b", "c")},
    "Multilabel": {"name": "x", "labels": ("a", "b")},
}
"""What is given of the kinds that have no default for all."""

KINDS = [
    kind
    for module in (
        *(definition, parameters, operation, gates, columns, cost),
        *(binary, decisions, multiclass, multilabel, regression),
    )
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
    assert {Costs, *Task.__subclasses__()} <= set(KINDS)
    assert len(FIELDS) > 45


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
        if not left_out and kind not in (Number, Image, Regression):  # whose low and high mind each other
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


def several(**given: Any) -> Callable[[], Any]:
    return lambda: Multiclass("y", **given)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (several(classes="abc"), "'y'.classes must be a list in which each is a whole number .* got 'abc'"),
        (several(classes={"a", "b", "c"}), "'y'.classes must be a list in which .* got {"),
        (several(classes=None), "'y'.classes must be a list in which .* got None"),
        (several(classes=("a", "", "c")), "'y'.classes must be a list in which .* text of 1 to 1,024 characters"),
        (several(classes=("a", "a\ud800", "c")), "'y'.classes must be a list in which .* of valid Unicode"),
        (several(classes=("a", "b" * 2000, "c")), "'y'.classes must be a list in which .*"),
        (several(classes=(1, 2, 2**53 + 1)), "'y'.classes must be a list .* whole number from -90071992547409"),
        (several(classes=(1, "1", 2)), "different texts or whole numbers"),
        (lambda: Multilabel("y", labels="ab"), "'y'.labels must be a list in which each is text .* got 'ab'"),
        (lambda: Multilabel("y", labels=("a", "")), "'y'.labels must be a list in which each is text "),
        (lambda: Multilabel("y", labels=("a", "b"), separate="no"), "'y'.separate must be true or false, got 'no'"),
        (lambda: Binary("y", "yes", labels=(1, "1")), "labels of target 'y' must be two different ones"),
        (lambda: Binary("y", "yes", labels=("no", "yes\ud800")), "'y'.labels must be a list of 2 in which each is "),
        (lambda: Binary("y", "yes", labels=("no", "yes", "maybe")), "'y'.labels must be a list of 2 in which each is "),
        (lambda: Regression("y", unit=5), "'y'.unit must be text, got 5"),
        (lambda: Regression("y", loss=["squared"]), "'y'.loss must be one of squared, absolute, .* got ..squared.."),
        (lambda: Regression("y", transform="log1p", high=-1), "high of target 'y' must be above 0, the least target"),
        (lambda: Regression(""), "target ''.name must be text of 1 to 1,024 characters"),
        (lambda: Category("c", known="lern"), "'c'.known must be a list in which each is text .* or one of learn"),
        (lambda: Category("c", known=(1, 2)), "'c'.known must be a list in which each is text .* got .1, 2."),
        (lambda: Category("c", known={"a", "b"}), "'c'.known must be a list in which each is text "),
        (lambda: Category("c", known=("a", "a")), "the known categories of column 'c' must be one or more different"),
        (lambda: Category("c", known=()), "the known categories of column 'c' must be one or more different"),
        (lambda: Category("c", nullable="no"), "'c'.nullable must be true or false, got 'no'"),
        (lambda: Number(""), "name must be text of 1 to 1,024 characters of valid Unicode, got ''"),
        (lambda: Image("i", shape=(10**9, 1, 1)), "'i'.shape must be a list of 3 in which each is a whole number"),
        (lambda: Training(extra={"dropout": math.inf}), "extra..dropout.. must have finite numbers, got inf"),
        (lambda: Training(extra={"torch": 5}), "extra..torch.. must be a mapping of parameters, got 5"),
        (lambda: Training(extra="dropout"), "training.extra must be a mapping, got 'dropout'"),
        (lambda: dataclasses.replace(SAMPLE, training={"epochs": 3}), "training must be a Training, got {'epochs': 3}"),
        (lambda: dataclasses.replace(SAMPLE, gates=AtLeast("roc_auc", 0.5)), "gates must be a list in which each is "),
        (
            lambda: dataclasses.replace(SAMPLE, gates=("roc_auc",)),
            "gates must be a list in which each is an AtLeast or",
        ),
        (lambda: dataclasses.replace(SAMPLE, columns=("x",)), "columns must be a list in which each is a Number or"),
        (lambda: dataclasses.replace(SAMPLE, slices="x"), "slices must be a list in which each is text, got 'x'"),
        (lambda: dataclasses.replace(SAMPLE, time="y"), "target, time and row_id must be different columns, got 'y'"),
        (lambda: dataclasses.replace(SAMPLE, row_id="t"), "target, time and row_id must be different columns, got 't'"),
        (
            lambda: dataclasses.replace(SAMPLE, target=Multilabel("z", labels=("t", "b"), separate=True)),
            "target, time and row_id must be different columns, got 't'",
        ),
        (
            lambda: dataclasses.replace(
                SAMPLE,
                torch=None,
                models={"wide": Torch(lambda inputs, params: None)},
                training=Training(extra={"wide": {"learning_rate": -1}}),
            ),
            "training.extra..wide....learning_rate.. must be a number from .*, got -1",
        ),
    ],
)
def test_what_is_no_number_is_refused_by_its_field_as_well(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ProjectInvalid, match=said) as refused:
        make()
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_what_is_in_order_is_taken_for_a_tuple_whatever_it_is() -> None:
    assert Multiclass("y", classes=range(3)).classes == (0, 1, 2)  # type: ignore[arg-type]
    assert Multiclass("y", classes=["a", "b", "c"]).classes == ("a", "b", "c")  # type: ignore[arg-type]
    found = Multiclass("y", classes=np.array([1, 2, 3])).classes  # type: ignore[arg-type]
    assert found == (1, 2, 3)
    assert {type(each) for each in found} == {int}
    assert type(Binary("y", "yes", threshold=np.float64(0.3)).threshold) is float
