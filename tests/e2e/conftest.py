"""What a user's shell has: nothing of the servers that other tests of this process started."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _a_shell_of_its_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as shell:
        for name in [each for each in os.environ if each.startswith("PREFECT_")]:
            shell.delenv(name)
        yield
