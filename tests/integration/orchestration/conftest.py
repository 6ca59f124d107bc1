"""One real Prefect server for all tests of this folder, on a free port, in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fullcircle.core.settings import Settings
from fullcircle.orchestration.prefect_server import connect


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, str]]:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("orchestration"))})
    with connect(settings) as url:
        yield settings, url


@pytest.fixture
def settings(shared: tuple[Settings, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of the shared server's home; flows read the same from the environment."""
    monkeypatch.setenv("FULLCIRCLE_HOME", str(shared[0].home))
    return shared[0]


@pytest.fixture
def api(shared: tuple[Settings, str]) -> str:
    return shared[1]
