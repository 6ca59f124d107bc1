"""How a use case names its stages, so that one composition runs plainly here and as Prefect tasks in flows/."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Step(Protocol):
    """Runs one named stage and returns what it returned. Guarantee: an error of the stage reaches the caller."""

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(*args, **kwargs)` as the stage `name`."""
        ...


def plain(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The Step of one process without an orchestrator: calls the function."""
    return function(*args, **kwargs)
