"""Search ranges written as words, as `fullcircle tune` takes them: `training.dropout=0..0.5`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import UsageError
from fullcircle.core.field_ranges import LARGEST, SMALLEST

if TYPE_CHECKING:
    from fullcircle.core.project.definition import Project
    from fullcircle.core.project.parameters import Training

from fullcircle.core.project.search_space import Choice, Integer, LogUniform, Range, Search, Uniform, why_not_searchable

FORMS = "0..0.5, log:1e-4..1e-1, 1..8, or a JSON list of values such as [32,64,128]"
"""How a range is written as a word."""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(?P<log>log:)?(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})")


def search_of(project: Project, words: Iterable[str]) -> dict[str, Range]:
    """What to search: what the words say; without words what the project says; else the learning rate and batch size.

    Args:
        words: `training.dropout=0..0.5` (see FORMS), or `training.dropout` alone for the project's own range of it.

    Raises:
        UsageError: no such parameter, with the nearest names, or a range that cannot be read.
    """
    own = dict(project.search) or default_search(project.training)
    found = dict(_word(project, own, word) for word in words)
    return dict(sorted((found or own).items()))


def default_search(training: Training) -> dict[str, Range]:
    """For a project that says none: the learning rate within a factor of ten, the batch size within one of two."""
    rate, batch = training.learning_rate, training.batch_size
    return {
        "training.learning_rate": LogUniform(max(_short(rate / 10), SMALLEST), min(_short(rate * 10), LARGEST)),
        "training.batch_size": Choice(*sorted({max(2, batch // 2), max(2, batch), min(max(4, batch * 2), 2**31 - 1)})),
    }


def setting(name: str, value: object) -> str:
    """The word that sets a parameter to this value, as `--set` takes it."""
    return f"{name}={json.dumps(value)}"


def _word(project: Project, own: Search, word: str) -> tuple[str, Range]:
    name, equals, text = (part.strip() for part in word.partition("="))
    if (why := why_not_searchable(name, project.training)) is not None:
        raise UsageError(f"a parameter to search must {why[0]}, got {name!r}", hint=why[1])
    if not equals:
        if name not in own:
            raise UsageError(f"project {project.name!r} says no range of {name}", hint=f"as {name}=RANGE: {FORMS}")
        return name, own[name]
    try:
        found = _parsed(text)
    except ValueError as error:
        raise UsageError(f"{name}: no range {text!r} ({error})", hint=f"a range is {FORMS}") from error
    if type(found) is Integer and isinstance(_now(project.training, name), float):
        found = LogUniform(found.low, found.high) if found.log else Uniform(found.low, found.high)
    return name, found


def _parsed(text: str) -> Range:
    if match := _RANGE.fullmatch(text):
        low, high, log = match["low"], match["high"], match["log"] is not None
        if all(re.fullmatch(r"[+-]?\d+", end) for end in (low, high)):
            return Integer(int(low), int(high), log)
        return LogUniform(float(low), float(high)) if log else Uniform(float(low), float(high))
    values = json.loads(text)
    if not isinstance(values, list):
        raise ValueError("neither two ends nor a list")
    return Choice(*values)


def _now(training: Training, name: str) -> Any:
    field = name.partition(".")[2]
    return training.extra[field] if field in training.extra else getattr(training, field)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
