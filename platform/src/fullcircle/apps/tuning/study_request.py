"""A request to tune, validated before anything is read or written."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Project
from fullcircle.core.project.overrides import overridden, written
from fullcircle.core.project.search_arguments import search_of, setting
from fullcircle.core.project.search_space import Search
from fullcircle.training.launchers.devices import detect_hardware
from fullcircle.training.parameters import for_model

if TYPE_CHECKING:
    from fullcircle.apps.tuning.study import Trial


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """What is to be searched.

    Attributes:
        trials: the study is done when so many have ended, over all calls.
        workers: processes that train, each one trial at a time.
        until: learn from rows before this; None: from all whose labels are known by now. Of a study that has begun,
            what it began with.
        timeout_s: stop after so long; another call goes on.
        study: a name beside the project's and the framework's, for a second study of both.
        space: ranges instead of the project's, see `core.project.search_arguments.search_of`.
        overrides: parameters that all trials share, see `core.project.overrides`.
    """

    framework: str
    trials: int
    workers: int = 1
    until: datetime | None = None
    timeout_s: float | None = None
    study: str | None = None
    space: Sequence[str] = ()
    overrides: Sequence[str] = ()


def checked(project: Project, request: TuneRequest) -> tuple[Project, Search, dict[str, Any]]:
    """The project as all trials have it, what is searched, and what the project has for that now.

    Raises:
        UsageError: an unknown framework, parameter or range, more workers than cores; nothing was read or written.
    """
    shared = _inline(overridden(project, request.overrides))
    _require(shared, request)
    search = search_of(shared, request.space)
    return shared, search, _present(shared, request, search)


def _inline(project: Project) -> Project:
    """Each trial in one process, its checkpoints on this machine: the workers are what runs side by side."""
    compute = dataclasses.replace(project.compute, where="inline", storage=None)
    return dataclasses.replace(project, compute=compute)


def _require(project: Project, request: TuneRequest) -> None:
    """Refuse before anything is read or written what could not be searched."""
    if request.framework not in project.frameworks:
        raise UsageError(
            f"project {project.name!r} has no model in {request.framework!r} to tune",
            hint=f"it has {', '.join(project.frameworks)}",
        )
    if request.study is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", request.study):
        raise UsageError(f"a study's name is lower-case letters, digits, '-' and '_', got {request.study!r}")
    if request.trials < 1 or request.workers < 1:
        raise UsageError(f"there must be a trial and a worker, got {request.trials} and {request.workers}")
    if request.workers > (cores := detect_hardware().cores):
        here = "1 core" if cores == 1 else f"{cores} cores"
        raise UsageError(
            f"{request.workers} workers want a core each, and here is {here}", hint=f"use --workers {cores}"
        )
    fixed = {word.partition("=")[0].strip() for word in request.overrides}
    if both := sorted(fixed & search_of(project, request.space).keys()):
        raise UsageError(f"{both[0]} is both set and searched", hint="leave one of the two out")


def _present(project: Project, request: TuneRequest, search: Search) -> dict[str, Any]:
    """What the project has now for what is searched, as plain values. Raises UsageError for a range that has a value
    which no training would take."""
    for name, each in search.items():
        for value in each.extremes:
            for_model(overridden(project, [setting(name, value)]).training, request.framework, project.frameworks)
    now = dataclasses.replace(project, training=for_model(project.training, request.framework, project.frameworks))
    plain = written(now)["training"]
    values = {**plain, **plain["extra"]}
    return {name: values[name.partition(".")[2]] for name in search}


def command(project: Project, request: TuneRequest, top: Trial) -> str:
    """The command that trains with a trial's parameters, as a shell takes it."""
    words = ["fullcircle", "train", project.name, "--framework", request.framework]
    for word in (*request.overrides, *top.settings):
        words += ["--set", word]
    return shlex.join(words)
