"""The digits project: no picture twice, what the scanners do stays in the contract, and nothing is shown too early."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_digits

from fullcircle.core.project import Image, Project
from fullcircle.core.project.loading import load_project
from fullcircle.core.row_tensors import pixels
from fullcircle.data.contract import check

ROOT = Path(__file__).resolve().parents[3]
HOME = ROOT / "projects" / "digits"


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project("digits", ROOT)


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_prepare", HOME / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HOME / "params.yaml").read_text())["digits"]
    return found


@pytest.fixture(scope="module")
def months(prepare: ModuleType, params: dict[str, Any]) -> dict[str, pd.DataFrame]:
    found: dict[str, pd.DataFrame] = prepare.months(params)
    return found


def test_the_image_is_all_that_a_model_sees(project):
    assert project.inputs == (Image("image", shape=(8, 8, 1), low=0, high=16, unit="grey level"),)
    assert [column.name for column in project.columns if column.after] == ["digit"]


def test_every_picture_is_in_one_month_alone_and_all_are_used(months):
    ids = pd.concat(months.values())["digit_id"]

    assert (len(ids), ids.is_unique) == (1797, True)
    assert sorted(months) == [f"2024-{month:02d}" for month in range(1, 13)]


def test_every_month_keeps_the_contract_and_has_rows_enough_to_be_judged(project, months):
    for month, frame in months.items():
        assert check(project, frame).violations == ()
        assert len(frame) >= project.watch.min_rows
        assert (frame["scanned_at"].dt.strftime("%Y-%m") == month).all()
        assert frame["scanned_at"].is_monotonic_increasing


def test_the_target_is_what_it_says(months):
    frame = pd.concat(months.values())

    assert (frame["closed_loop"] == frame["digit"].isin([0, 6, 8, 9])).all()
    assert 0.35 < frame["closed_loop"].mean() < 0.45


def test_plain_months_are_the_source_and_later_ones_are_what_the_scanner_made_of_it(project, months, params):
    source = load_digits().images.reshape(-1, 64).astype("float32")
    (column,) = project.inputs
    for month, frame in months.items():
        original = source[frame["digit_id"].str[1:].astype(int)]
        same = (pixels(frame["image"], column) == original).all(axis=1)
        assert same.all() if params["months"][month]["world"] == "plain" else not same.any()


def test_the_months_to_learn_from_are_plain(params):
    worlds = [each["world"] for _, each in sorted(params["months"].items())]

    assert worlds == ["plain"] * 7 + ["rotated"] * 3 + ["noisy"] * 2


def test_a_month_does_not_depend_on_what_happens_in_others(prepare, params, months):
    changed = {**params["months"], "2024-09": {**params["months"]["2024-09"], "world": "noisy"}}

    again = prepare.months({**params, "months": changed})

    assert not again["2024-09"]["image"].map(bytes).equals(months["2024-09"]["image"].map(bytes))
    for month in set(months) - {"2024-09"}:
        assert again[month]["image"].map(bytes).equals(months[month]["image"].map(bytes))


def test_what_cannot_be_prepared_is_refused(prepare, params):
    with pytest.raises(ValueError, match="the months ask for 2000 digits, there are 1797"):
        prepare.months({**params, "months": {"2024-01": {"rows": 2000, "world": "plain"}}})
    with pytest.raises(ValueError, match="must be plain, rotated or noisy, got 'wet'"):
        prepare.months({**params, "months": {"2024-01": {"rows": 5, "world": "wet"}}})


def test_the_committed_lock_is_of_these_bytes(prepare, months, tmp_path):
    names = ("numpy", "scipy", "scikit-learn", "pyarrow")
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
    assert locked["deps"][0]["md5"] == script


def test_augmentation_is_drawn_from_torchs_generator_and_only_while_training(project):
    import torch

    model = project.torch((1, 8, 8), project.training.extra)
    images = torch.from_numpy(load_digits().images[:20].astype("float32"))[:, None]
    shift = model[0]

    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return shift.train()(images)

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))
    assert (trained(1) - images).abs().mean() < 4  # a little: the digit is still there
    assert torch.equal(shift.eval()(images), images)
    assert np.isfinite(model.eval()(images).detach().numpy()).all()


def test_the_runbook_that_the_page_links_to_exists(project):
    assert (ROOT / project.runbook).is_file()
