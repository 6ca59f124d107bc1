"""The verdict on a repeated training, and the order of what may have caused a difference."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from fullcircle.core.errors import UsageError
from fullcircle.core.records.fingerprint import EpochMark, Fingerprint, Machine, Recorded, fingerprint_of
from fullcircle.core.records.repro_compare import Agreement, compare
from fullcircle.core.records.repro_report import Difference, DifferenceKind, differences, ranked

LOSSES = np.linspace(0.7, 0.3, 20)


def fingerprint(losses: Sequence[float] | np.ndarray = LOSSES, **changed: Any) -> Fingerprint:
    values: dict[str, Any] = {
        "framework": "torch",
        "weights": "w",
        "losses": str(np.asarray(losses).tobytes()),
        "steps": len(losses),
        "every": 1,
        "epochs": (EpochMark(epoch=1, step=10, train_loss=0.6, validation_loss=0.5),),
        "best_epoch": 1,
        "arrays": {"x_train": "x", "y_train": "y", "preprocessing": "p"},
        "training": {"seed": 13, "learning_rate": 0.01, "extra": {"width": 64}},
        "compute": {"threads": 1, "precision": "float32"},
        "place": "inline",
        "world_size": 1,
        "devices": ("cpu",),
        "machine": Machine(cpu="Some CPU", machine="x86_64", cores=2, gpus=(), python="3.11.9"),
        "variables": {"OMP_NUM_THREADS": "1"},
        "platform": "f",
    }
    return Fingerprint(**{**values, **changed})


def recorded(
    losses: Sequence[float] | np.ndarray = LOSSES,
    requirements: Mapping[str, str] | None = None,
    code: str = "c",
    **changed: Any,
) -> Recorded:
    versions = {"numpy": "2.4.0", "torch": "2.13.0", "rich": "14.0"} if requirements is None else requirements
    made = fingerprint(losses, **changed)
    return Recorded(fingerprint=made, losses=np.asarray(losses, dtype=float), requirements=versions, code=code)


def causes(then: Recorded, now: Recorded, imported: Sequence[str] = ()) -> list[str]:
    return [each.name for each in ranked(differences(then, now), compare(then, now), "torch", imported)]


def test_the_same_bits_are_bitwise() -> None:
    seen = compare(recorded(), recorded())
    assert (seen.outcome, seen.sentence, seen.unequal_at, seen.largest) == (Agreement.BITWISE, "bitwise", None, 0.0)


def test_last_bits_are_within_tolerance_and_the_first_of_them_is_told() -> None:
    now = LOSSES.copy()
    now[6:] += 1e-9
    seen = compare(recorded(), recorded(now, weights="other"))
    assert (seen.sentence, seen.unequal_at, seen.diverged_at) == ("within tolerance", 7, None)
    assert 0 < seen.largest < 1e-8


def test_the_same_losses_with_other_weights_are_not_bitwise() -> None:
    seen = compare(recorded(), recorded(weights="other"))
    assert (seen.sentence, seen.unequal_at, seen.weights) == ("within tolerance", None, False)


def test_a_divergence_is_told_by_its_first_step_and_the_first_other_bits_by_theirs() -> None:
    now = LOSSES.copy()
    now[3:] += 1e-9
    now[11:] += 0.1
    seen = compare(recorded(), recorded(now))
    assert (seen.sentence, seen.unequal_at, seen.steps_now) == ("diverged at step 12", 4, 20)


def test_a_training_that_ended_earlier_diverged_behind_its_last_step() -> None:
    seen = compare(recorded(), recorded(LOSSES[:15]))
    assert (seen.sentence, seen.unequal_at) == ("diverged at step 16", 16)


def test_a_validation_loss_alone_is_enough_to_diverge() -> None:
    other = (EpochMark(epoch=1, step=10, train_loss=0.6, validation_loss=0.9),)
    assert compare(recorded(), recorded(epochs=other)).sentence == "diverged at step 10"


def test_a_training_without_steps_is_compared_by_its_epochs() -> None:
    then = (EpochMark(epoch=1, step=0, train_loss=0.6, validation_loss=0.5),)
    now = (EpochMark(epoch=1, step=0, train_loss=0.6, validation_loss=0.6),)
    assert compare(recorded([], epochs=then), recorded([], epochs=then)).sentence == "bitwise"
    assert compare(recorded([], epochs=then), recorded([], epochs=now)).sentence == "diverged at epoch 1"


def test_thinned_losses_are_compared_at_the_steps_that_both_kept() -> None:
    now = LOSSES.copy()
    now[9] += 0.1
    then = dataclasses.replace(recorded(every=3), losses=LOSSES[::3])
    assert compare(then, recorded(now)).sentence == "diverged at step 10"
    now[9], now[10] = LOSSES[9], 0.9  # a step that was not kept: the digest still tells
    seen = compare(then, recorded(now))
    assert (seen.outcome, seen.unequal_at) == (Agreement.WITHIN, None)


@pytest.mark.parametrize(
    ("changed", "name", "kind"),
    [
        (
            {"training": {"seed": 1, "learning_rate": 0.01, "extra": {"width": 64}}},
            "training.seed",
            DifferenceKind.PARAMETER,
        ),
        (
            {"training": {"seed": 13, "learning_rate": 0.01, "extra": {"width": 9}}},
            "training.width",
            DifferenceKind.PARAMETER,
        ),
        ({"compute": {"threads": 4, "precision": "float32"}}, "compute.threads", DifferenceKind.THREADS),
        ({"compute": {"threads": 1, "precision": "bfloat16"}}, "compute.precision", DifferenceKind.PARAMETER),
        ({"world_size": 2}, "processes", DifferenceKind.PROCESSES),
        ({"devices": ("cuda",)}, "device", DifferenceKind.HARDWARE),
        ({"variables": {}}, "OMP_NUM_THREADS", DifferenceKind.THREADS),
        ({"code": "other"}, "project", DifferenceKind.CODE),
        ({"platform": "other"}, "fullcircle", DifferenceKind.CODE),
        ({"requirements": {"numpy": "1.0", "torch": "2.13.0", "rich": "14.0"}}, "numpy", DifferenceKind.PACKAGE),
        (
            {"machine": Machine(cpu="Another", machine="aarch64", cores=2, gpus=(), python="3.11.9")},
            "cpu",
            DifferenceKind.HARDWARE,
        ),
    ],
)
def test_one_change_is_the_one_cause(changed: dict[str, Any], name: str, kind: DifferenceKind) -> None:
    then, now = recorded(), recorded(LOSSES + 0.1, **changed)
    found = differences(then, now)
    assert [(each.name, each.kind) for each in found] == [(name, kind)]


def test_what_is_the_same_is_no_difference_even_if_a_function_lies_elsewhere() -> None:
    one = {"seed": 13, "extra": {"init": "<function f at 0x7f01>"}}
    two = {"seed": 13, "extra": {"init": "<function f at 0x7f02>"}}
    assert differences(recorded(training=one), recorded(training=two)) == []


def test_packages_that_numbers_go_through_are_suspected_before_all_others() -> None:
    now = {"numpy": "2.5.0", "torch": "2.14.0", "rich": "15.0", "wobble": "2.0"}
    names = causes(recorded(), recorded(LOSSES + 0.1, requirements=now), imported=["wobble"])
    assert names == ["wobble", "torch", "numpy", "rich"]


def test_another_frameworks_package_is_suspected_last_even_if_the_project_imports_it() -> None:
    then = recorded(requirements={"tensorflow": "2.20", "keras": "3.14", "numpy": "2.3"})
    now = recorded(LOSSES + 0.1, requirements={"tensorflow": "2.21", "keras": "3.15", "numpy": "2.4"})
    assert causes(then, now, imported=["keras", "torch"]) == ["numpy", "keras", "tensorflow"]


def test_rows_are_suspected_first_where_other_rows_were_learned_from_and_last_where_not() -> None:
    rows = Difference(kind=DifferenceKind.DATA, name="2024-01.parquet", what="a row changed")
    seed = differences(recorded(), recorded(training={"seed": 1, "learning_rate": 0.01, "extra": {"width": 64}}))
    same, other = recorded(LOSSES + 0.1), recorded(LOSSES + 0.1, arrays={"x_train": "z", "y_train": "y"})
    assert [each.name for each in ranked([*seed, rows], compare(recorded(), same), "torch")] == [
        "training.seed",
        rows.name,
    ]
    assert [each.name for each in ranked([*seed, rows], compare(recorded(), other), "torch")] == [
        rows.name,
        "training.seed",
    ]


def test_a_large_first_difference_is_none_of_threads_or_hardware() -> None:
    python = Machine(cpu="Some CPU", machine="x86_64", cores=2, gpus=(), python="3.12.0")
    other: dict[str, Any] = {"compute": {"threads": 4, "precision": "float32"}, "machine": python}
    assert causes(recorded(), recorded(LOSSES + 0.1, **other)) == ["python", "compute.threads"]
    assert causes(recorded(), recorded(LOSSES + 1e-9, **other)) == ["compute.threads", "python"]


def test_a_fingerprint_comes_back_from_its_json() -> None:
    from fullcircle.store.json_values import to_json

    made = fingerprint()
    assert fingerprint_of(json.loads(to_json(made)), "r") == made


def test_a_fingerprint_of_a_newer_version_or_a_damaged_one_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="run r was recorded by a newer version"):
        fingerprint_of({"format": 99}, "r")
    with pytest.raises(UsageError, match="the fingerprint of run r is damaged"):
        fingerprint_of({"format": 1}, "r")
