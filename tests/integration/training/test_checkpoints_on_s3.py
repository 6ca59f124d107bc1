"""Checkpoints in an S3 bucket: the real client against moto's server on loopback."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import numpy as np
import pytest

from fullcircle.training.checkpoints.checkpoint_store import CheckpointKey, Checkpoints

pytestmark = pytest.mark.skipif(importlib.util.find_spec("s3fs") is None, reason="needs the extra 's3'")

MARK = CheckpointKey(project="pumps", framework="torch", data="d", parameters="p")


@pytest.fixture(autouse=True)
def _own_client(bucket: MutableMapping[str, bytes]) -> Iterator[None]:
    """s3fs keeps its clients, and with them the address of another test's server."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints("s3://bucket/runs/r1", MARK, staging=folder, keep=2)


def write(kept: Checkpoints, step: int) -> None:
    kept.begin(step)
    (kept.part(step) / "weights").write_bytes(b"w" * step)
    kept.commit(step, {}, {"w": np.ones(step, dtype=np.float32)})


def test_the_newest_ones_are_there_and_come_back_on_another_machine(
    bucket: MutableMapping[str, bytes], tmp_path: Path
) -> None:
    kept = checkpoints(tmp_path / "here")
    for step in (1, 2, 3):
        write(kept, step)

    assert bucket["runs/r1/LATEST"] == b"step-0000000003"
    assert {key.split("/")[2] for key in bucket} == {"LATEST", "step-0000000002", "step-0000000003"}
    found, warnings = checkpoints(tmp_path / "there").find()
    assert found is not None
    assert (found.step, warnings) == (3, [])
    assert (found.folder / "weights").read_bytes() == b"www"


def test_one_that_was_not_uploaded_whole_is_passed_over(bucket: MutableMapping[str, bytes], tmp_path: Path) -> None:
    kept = checkpoints(tmp_path / "here")
    write(kept, 1)
    write(kept, 2)
    del bucket["runs/r1/step-0000000002/manifest.json"]

    found, warnings = checkpoints(tmp_path / "there").find()

    assert found is not None
    assert found.step == 1
    assert "step-0000000002 is damaged" in warnings[0]
