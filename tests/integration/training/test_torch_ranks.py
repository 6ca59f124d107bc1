"""Two real processes train torch models: as copies (DDP) and as shards (FSDP2), beside one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("torch_rank.py")
STRATEGIES = ("ddp", "fsdp")
VARIANTS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "in parts": {"accumulate": 3},
    "an unused parameter": {"model": "unused"},
    "a loss of its own": {"model": "lightning"},
    "images": {"model": "images"},
}

Result = Mapping[str, Any]
Results = Mapping[str, list[Result]]


def run(root: Path, ranks: int, plans: list[dict[str, Any]]) -> Results:
    """Start so many ranks of the program and wait for them; what each rank left of each plan."""
    for plan in plans:
        (root / plan["name"] / "checkpoint").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(root), json.dumps(plans)],
            env=os.environ | address | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    names = [plan["name"] for plan in plans]
    return {name: [dict(np.load(root / name / f"rank-{rank}.npz")) for rank in range(ranks)] for name in names}


def for_two(root: Path) -> list[dict[str, Any]]:
    """All that two ranks do, in an order in which each checkpoint is there before it is loaded."""
    plans = [
        {"name": f"{strategy} {name}", "strategy": strategy, **variant}
        for strategy in STRATEGIES
        for name, variant in VARIANTS.items()
    ]
    for strategy, other in (STRATEGIES, STRATEGIES[::-1]):
        there = {"load": str(root / f"{other} plain" / "checkpoint"), "first": 7}
        plans.append({"name": f"{other} goes on as {strategy}", "strategy": strategy, **there})
        for model in ("dropout", "normalised"):
            plans.append({"name": f"{strategy} {model}", "strategy": strategy, "model": model})
            load = str(root / f"{strategy} {model}" / "checkpoint")
            plans.append({**plans[-1], "name": f"{strategy} {model} resumed", "load": load, "first": 7})
        plans.append({"name": f"{strategy} float16", "strategy": strategy, "precision": "float16"})
        plans.append({"name": f"{strategy} poisoned", "strategy": strategy, "poisoned": 20})
    plans.append({"name": "one goes on as two", "load": str(root / "plain" / "checkpoint"), "first": 7})
    return plans


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def alone(root: Path) -> Results:
    return run(root, 1, [{"name": name, **variant} for name, variant in VARIANTS.items()])


@pytest.fixture(scope="module")
def together(root: Path, alone: Results) -> Results:
    return run(root, 2, for_two(root))


@pytest.fixture(scope="module")
def alone_again(root: Path, together: Results) -> Results:
    """One process goes on from the checkpoints of two."""
    load = {strategy: str(root / f"{strategy} plain" / "checkpoint") for strategy in STRATEGIES}
    return run(root, 1, [{"name": f"{s} goes on alone", "load": load[s], "first": 7} for s in STRATEGIES])


def numbers(result: Result, part: str) -> dict[str, Any]:
    """Losses, norms and weights of one part, by name."""
    names = [name for name in result if name.startswith(part) and not name.endswith("waited_s")]
    assert len(names) > 3
    return {name.removeprefix(part): result[name] for name in names}


def require_close(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-6, err_msg=name)


def require_same(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_ranks_learn_what_one_process_learns(
    alone: Results, together: Results, strategy: str, variant: str
) -> None:
    (expected,) = alone[variant]
    first, second = together[f"{strategy} {variant}"]
    for part in ("first", "second"):
        require_close(numbers(expected, part), numbers(first, part))
        require_same(numbers(first, part), numbers(second, part))
    np.testing.assert_allclose(expected["logits"], first["logits"], rtol=0, atol=1e-6)
    assert len(second["logits"]) == 4
    assert expected["architecture"] == first["architecture"] == second["architecture"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("model", ["dropout", "normalised"])
def test_two_ranks_go_on_from_their_checkpoint_to_the_last_bit(together: Results, strategy: str, model: str) -> None:
    straight, resumed = together[f"{strategy} {model}"], together[f"{strategy} {model} resumed"]
    for there, here in zip(straight, resumed, strict=True):
        require_same(numbers(there, "second"), numbers(here, "first"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_process_goes_on_from_the_checkpoint_of_two(together: Results, alone_again: Results, strategy: str) -> None:
    require_close(
        numbers(together[f"{strategy} plain"][0], "second"),
        numbers(alone_again[f"{strategy} goes on alone"][0], "first"),
    )


def test_two_ranks_go_on_from_the_checkpoint_of_one_process(alone: Results, together: Results) -> None:
    require_close(numbers(alone["plain"][0], "second"), numbers(together["one goes on as two"][0], "first"))


@pytest.mark.parametrize(("before", "after"), [STRATEGIES, STRATEGIES[::-1]])
def test_a_checkpoint_of_one_strategy_goes_on_in_the_other(together: Results, before: str, after: str) -> None:
    require_close(
        numbers(together[f"{before} plain"][0], "second"),
        numbers(together[f"{before} goes on as {after}"][0], "first"),
    )


def test_copies_measure_how_long_they_wait_for_each_other_and_shards_do_not(together: Results) -> None:
    for strategy, measured in zip(STRATEGIES, (True, False), strict=True):
        waited = [float(rank["first/waited_s"]) > 0 for rank in together[f"{strategy} plain"]]
        assert [measured, measured] == waited


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scaled_gradients_of_float16_agree_among_ranks(together: Results, strategy: str) -> None:
    first, second = together[f"{strategy} float16"]
    assert np.isfinite(first["second/losses"]).all() and (first["second/norms"] > 0).all()
    require_same(numbers(first, "second"), numbers(second, "second"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_rank_that_has_the_poisoned_row_names_it_and_the_other_nothing(together: Results, strategy: str) -> None:
    found = [str(rank["diagnosis"]) for rank in together[f"{strategy} poisoned"]]
    # Row 20 of 33 is row 3 of the second rank's 17.
    assert found == ["None", "Diagnosis(layer='0 (Linear)', where='forward', rows=(3,))"]
