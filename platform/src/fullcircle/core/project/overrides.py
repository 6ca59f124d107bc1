"""Parameter overrides for one training: `training.learning_rate=0.01`, `compute.threads=2`."""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from fullcircle.core.errors import UsageError
from fullcircle.core.field_ranges import shown
from fullcircle.core.project.definition import Project
from fullcircle.core.project.parameters import Compute, Training, finite

_KINDS: Mapping[str, type[Training] | type[Compute]] = {"training": Training, "compute": Compute}


def overridden(project: Project, words: Iterable[str]) -> Project:
    """The project with parameters replaced; each word is `training.<name>=<value>` or `compute.<name>=<value>`.

    A value is JSON where it reads as such (`3`, `true`, `null`, `[64, 32]`), else text. What the project passes on to
    its model functions (`training.extra`) is set by its name, too: `training.hidden=[64]`. A parameter that is set
    goes before what the project says for one framework.

    Raises:
        UsageError: no such parameter, with the nearest names, or a value that does not fit, saying what it must be.
    """
    for word in words:
        name, equals, text = word.partition("=")
        kind, dot, field = name.strip().partition(".")
        if not (equals and dot and field and kind in _KINDS):
            raise UsageError(
                f"a parameter is set as training.<name>=<value> or compute.<name>=<value>, got {word!r}",
                hint="such as training.learning_rate=0.01",
            )
        project = _set(project, kind, field, _value(text.strip()))
    return project


def recalled(project: Project, training: Mapping[str, Any], compute: Mapping[str, Any]) -> Project:
    """The project with the parameters that `written` wrote down; those that are the same stay the very objects."""
    return dataclasses.replace(
        project, training=_recalled(project.training, training), compute=_recalled(project.compute, compute)
    )


def written(project: Project) -> dict[str, Any]:
    """The parameters of training and compute as plain values, for JSON."""
    return {"training": _plain(project.training), "compute": _plain(project.compute)}


def _set(project: Project, kind: str, field: str, value: Any) -> Project:
    now = getattr(project, kind)
    hints = typing.get_type_hints(type(now))
    extra: dict[str, Any] = dict(project.training.extra) if kind == "training" else {}
    if field in hints and field != "extra":
        _require(f"{kind}.{field}", hints[field], value)
        changed = {field: _fitting(hints[field], value)}
        if kind == "training":
            changed["extra"] = _without(extra, field)
    elif field in extra and field not in ("torch", "keras", "baseline"):
        if not finite(value):
            raise UsageError(f"{kind}.{field} must have finite numbers, got {shown(value)}")
        changed = {"extra": {**_without(extra, field), field: value}}
    else:
        names = [name for name in (*hints, *extra) if name not in ("extra", "torch", "keras", "baseline")]
        near = difflib.get_close_matches(field, names, n=3, cutoff=0.5)
        listed = ", ".join(f"{kind}.{name}" for name in near or names)
        hint = f"did you mean {listed}?" if near else f"there are {listed}"
        raise UsageError(f"project {project.name!r} has no parameter {kind}.{field}", hint=hint)
    return dataclasses.replace(project, **{kind: dataclasses.replace(now, **changed)})


def _without(extra: Mapping[str, Any], field: str) -> dict[str, Any]:
    """What is passed on, without this field in the parts of single frameworks."""
    return {
        key: {name: each for name, each in value.items() if name != field} if isinstance(value, Mapping) else value
        for key, value in extra.items()
        if key != field
    }


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _require(name: str, hint: Any, value: Any) -> None:
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    if choices:
        if value not in choices:
            raise UsageError(f"{name} must be one of {', '.join(map(str, choices))}, got {shown(value)}")
        return
    kinds = typing.get_args(hint) or (hint,)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = (
        (value is None and type(None) in kinds)
        or (isinstance(value, bool) and bool in kinds)
        or (isinstance(value, str) and str in kinds)
        or (number and float in kinds)
        or (number and isinstance(value, int) and int in kinds)
    )
    if not fits:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
        raise UsageError(f"{name} must be {' or '.join(words[kind] for kind in kinds)}, got {shown(value)}")


def _fitting(hint: Any, value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and float in (typing.get_args(hint) or (hint,)) else value


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(value), default=repr))


def _recalled(now: Any, then: Mapping[str, Any]) -> Any:
    plain = _plain(now)
    names = {field.name for field in dataclasses.fields(now)}
    changed = {name: each for name, each in then.items() if name in names and plain[name] != each}
    return dataclasses.replace(now, **changed)
