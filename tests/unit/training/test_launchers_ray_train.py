"""What is said when there is no Ray, or no cluster at the address. Training on a real one is in tests/e2e."""

from __future__ import annotations

import sys

import pytest

from fullcircle.core.errors import ServiceUnavailable, UsageError
from fullcircle.core.system.processes import free_port
from fullcircle.training.jobs import TrainJob
from fullcircle.training.launchers import ray_train


def test_without_ray_the_extra_is_named(job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # the import system's own word for "not to be had"
    with pytest.raises(UsageError, match="Ray is not installed here") as missing:
        ray_train.run(job, "", 2)
    assert missing.value.hint == 'pip install "fullcircle[ray]"'


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_answers_is_named_in_one_line(job: TrainJob, scheme: str) -> None:
    address = f"{scheme}127.0.0.1:{free_port()}"
    with pytest.raises(ServiceUnavailable) as unreachable:
        ray_train.run(job, address, 2)
    assert f"no Ray cluster answers at {address} (Connection refused)" in unreachable.value.what
    assert "\n" not in str(unreachable.value)
