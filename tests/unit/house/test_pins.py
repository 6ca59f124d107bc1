"""constraints.txt pins all that is installed but torch, and fits what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

UNPINNED = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)$")


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, Version]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    split = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in split}


@pytest.fixture(scope="module")
def asked(repository: Path) -> list[Requirement]:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    return [made for made in map(Requirement, texts) if made.name != "fullcircle"]


def test_torch_and_its_companions_are_not_pinned_so_that_a_gpu_machine_gets_its_own_build(
    pins: dict[str, Version],
) -> None:
    assert [name for name in pins if UNPINNED.match(name)] == []
    assert [name for name, version in pins.items() if version.local] == []


def test_every_pin_fits_the_range_that_pyproject_declares(pins: dict[str, Version], asked: list[Requirement]) -> None:
    for made in asked:
        if not UNPINNED.match(made.name):
            assert canonicalize_name(made.name) in pins, f"{made.name} is not pinned: make lock"
            assert pins[canonicalize_name(made.name)] in made.specifier


def test_the_two_known_traps_are_closed(asked: list[Requirement]) -> None:
    bounds = {made.name: made.specifier for made in asked}
    assert Version("3.0") not in bounds["pandas"]
    assert Version("0.156") not in bounds["fastapi"]
    assert Version("0.151") not in bounds["fastapi"]


def test_the_security_floors_hold(asked: list[Requirement]) -> None:
    for name, too_old in {"onnx": "1.20.1", "keras": "3.13.1", "torch": "2.9.1", "mlflow": "3.16"}.items():
        specifiers = [made.specifier for made in asked if made.name == name]
        assert specifiers
        assert all(Version(too_old) not in specifier for specifier in specifiers)
