"""A database of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fullcircle.core.settings import Settings
from fullcircle.store.database import Database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database(settings)
    yield database
    database.close()
