"""The digits project: no picture twice, what the scanners do stays in the contract, and nothing is shown too early."""

from __future__ import annotations

import hashlib
import json
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from fullcircle.core.project import Image, Multiclass, Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.row_tensors import pixels
from fullcircle.data.contract import check

if TYPE_CHECKING:
    from tests.conftest import Script, Shipped

ROOT = Path(__file__).resolve().parents[3]
HOME = ROOT / "projects" / "digits"


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project("digits", ROOT)


@pytest.fixture(scope="module")
def prepare(script: Script) -> Any:
    return script(HOME / "prepare.py")


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HOME / "params.yaml").read_text())["digits"]
    return found


@pytest.fixture(scope="module")
def source(prepare: Any, params: dict[str, Any], shipped: Shipped) -> tuple[np.ndarray, np.ndarray]:
    found: tuple[np.ndarray, np.ndarray] = prepare.read(shipped(params, prepare.RAW))
    return found


@pytest.fixture(scope="module")
def months(prepare: Any, params: dict[str, Any], source: tuple[np.ndarray, np.ndarray]) -> dict[str, pd.DataFrame]:
    found: dict[str, pd.DataFrame] = prepare.months(params, source)
    return found


def test_the_image_is_all_that_a_model_sees(project):
    assert project.columns == (Image("image", shape=(14, 14, 1), low=0, high=255, unit="grey level"),)
    assert project.target == Multiclass("digit", range(10))


def test_every_picture_is_in_one_month_alone_and_all_are_used(months):
    ids = pd.concat(months.values())["digit_id"]

    assert (len(ids), ids.is_unique) == (5000, True)
    assert sorted(months) == [f"2024-{month:02d}" for month in range(1, 13)]


def test_every_month_keeps_the_contract_and_has_rows_enough_to_be_judged(project, months):
    for month, frame in months.items():
        assert check(project, frame).violations == ()
        assert len(frame) >= project.watch.min_rows
        assert (frame["scanned_at"].dt.strftime("%Y-%m") == month).all()
        assert frame["scanned_at"].is_monotonic_increasing


def test_each_digit_is_in_each_month_often_enough_to_be_learned_and_judged(months):
    counts = pd.concat({month: frame["digit"].value_counts() for month, frame in months.items()}, axis=1)

    assert (counts.sum(axis=1) == 500).all()
    assert counts.min().min() >= 15


def test_plain_months_are_the_source_and_later_ones_are_what_the_scanner_made_of_it(project, months, params, source):
    pictures = source[0].reshape(-1, 196)
    (column,) = project.inputs
    for month, frame in months.items():
        original = pictures[frame["digit_id"].str[1:].astype(int)]
        same = (pixels(frame["image"], column) == original).all(axis=1)
        assert same.all() if params["months"][month]["world"] == "plain" else not same.any()


def test_the_months_to_learn_from_are_plain(params):
    worlds = [each["world"] for _, each in sorted(params["months"].items())]

    assert worlds == ["plain"] * 7 + ["rotated"] * 3 + ["noisy"] * 2


def test_a_month_does_not_depend_on_what_happens_in_others(prepare, params, months, source):
    changed = {**params["months"], "2024-09": {**params["months"]["2024-09"], "world": "noisy"}}

    again = prepare.months({**params, "months": changed}, source)

    assert not again["2024-09"]["image"].map(bytes).equals(months["2024-09"]["image"].map(bytes))
    for month in set(months) - {"2024-09"}:
        assert again[month]["image"].map(bytes).equals(months[month]["image"].map(bytes))


def test_what_cannot_be_prepared_is_refused(prepare, params, source):
    with pytest.raises(ValueError, match="the months ask for 6000 digits, there are 5000"):
        prepare.months({**params, "months": {"2024-01": {"rows": 6000, "world": "plain"}}}, source)
    with pytest.raises(ValueError, match="must be plain, rotated or noisy, got 'wet'"):
        prepare.months({**params, "months": {"2024-01": {"rows": 5, "world": "wet"}}}, source)


def test_the_committed_lock_is_of_these_bytes(prepare, months, tmp_path):
    names = ("numpy", "scipy", "pandas", "pyarrow")
    pins = dict(re.findall(r"^([a-z-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    if any(pins[name] != metadata.version(name) for name in names):
        pytest.skip("the bytes of Parquet files are promised for the pinned versions alone")
    prepare.write(months, tmp_path / "digits")

    files = [
        {"md5": hashlib.md5(path.read_bytes()).hexdigest(), "relpath": path.name}
        for path in sorted((tmp_path / "digits").iterdir())
    ]
    digest = hashlib.md5(json.dumps(files, sort_keys=True).encode()).hexdigest()

    locked = yaml.safe_load((HOME / "dvc.lock").read_text())["stages"]["prepare"]
    assert locked["outs"][0]["md5"] == f"{digest}.dir"
    script = hashlib.md5((HOME / "prepare.py").read_bytes()).hexdigest()
    assert {each["path"]: each["md5"] for each in locked["deps"]}["projects/digits/prepare.py"] == script


def test_augmentation_is_drawn_from_torchs_generator_and_only_while_training(project, source):
    import torch

    model = project.torch((1, 14, 14), project.training.extra)
    images = torch.from_numpy(source[0][:20])[:, None]
    shift = model[0]

    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return shift.train()(images)

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))
    assert (trained(1) - images).abs().mean() < 40  # a little: the digit is still there
    assert torch.equal(shift.eval()(images), images)
    assert np.isfinite(model.eval()(images).detach().numpy()).all()


def test_the_runbook_that_the_page_links_to_exists(project):
    assert (ROOT / project.runbook).is_file()
