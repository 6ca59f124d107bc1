"""Parameters that are set for one training: what they reach, what is refused, and how they come back."""

from __future__ import annotations

import json

import pytest

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Binary, Compute, Number, Project, Training
from fullcircle.core.project.overrides import overridden, recalled, written


@pytest.fixture
def project() -> Project:
    return Project(
        name="p",
        owner="o",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        training=Training(extra={"hidden": (128, 64), "torch": {"learning_rate": 0.5, "hidden": (8,)}}),
    )


def test_a_parameter_is_set_whatever_the_project_says_for_one_framework(project: Project) -> None:
    from fullcircle.training.parameters import for_model

    words = ["training.learning_rate=0.01", "training.hidden=[32, 16]", "compute.threads=2", "training.clip_norm=5"]
    changed = overridden(project, words)
    assert (changed.compute, changed.training.clip_norm) == (Compute(threads=2), 5.0)
    trained = for_model(changed.training, "torch")
    assert (trained.learning_rate, trained.extra["hidden"]) == (0.01, [32, 16])
    assert project.training.learning_rate == Training().learning_rate


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("compute.where=local:2", Compute(where="local:2")),
        ("compute.compile=true", Compute(compile=True)),
        ("compute.checkpoint_every_s=null", Compute(checkpoint_every_s=None)),
        ("compute.stall_s=5", Compute(stall_s=5.0)),
        ("compute.precision=bfloat16", Compute(precision="bfloat16")),
    ],
)
def test_values_are_read_as_json_or_as_text(project: Project, word: str, expected: Compute) -> None:
    assert overridden(project, [word]).compute == expected


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("training.learning_rat=1", "no parameter training.learning_rat; did you mean training.learning_rate"),
        ("training.hiden=[1]", "did you mean training.hidden"),
        ("compute.qqq=1", "no parameter compute.qqq; there are compute.where"),
        ("learning_rate=1", "a parameter is set as training.<name>=<value>"),
        ("training.epochs", "a parameter is set as training.<name>=<value>"),
        ("training.where=inline", "no parameter training.where"),
        ("training.extra={}", "no parameter training.extra"),
        ("training.torch={}", "no parameter training.torch"),
        ("training.epochs=2.5", "training.epochs must be a whole number, got 2.5"),
        ("training.epochs=true", "training.epochs must be a whole number, got True"),
        ("training.learning_rate=fast", "training.learning_rate must be a number, got 'fast'"),
        ("training.clip_norm=x", "training.clip_norm must be a number or null, got 'x'"),
        ("compute.compile=1", "compute.compile must be true or false, got 1"),
        ("compute.precision=int8", "compute.precision must be one of float32, bfloat16, float16, got 'int8'"),
    ],
)
def test_what_does_not_exist_or_does_not_fit_is_refused_in_one_line(project: Project, word: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        overridden(project, [word])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_parameters_that_were_written_down_come_back_and_equal_ones_stay_as_they_are(project: Project) -> None:
    began = overridden(project, ["training.epochs=3", "compute.threads=2"])
    kept = json.loads(json.dumps(written(began)))
    again = recalled(project, kept["training"], kept["compute"])
    assert (again.training.epochs, again.compute.threads) == (3, 2)
    assert again.training.extra is project.training.extra  # a tuple stays a tuple
