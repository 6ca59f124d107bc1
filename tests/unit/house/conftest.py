"""What the tests about the house itself share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def package(repository: Path) -> Path:
    """The package's folder in the checkout."""
    return repository / "platform" / "src" / "fullcircle"
