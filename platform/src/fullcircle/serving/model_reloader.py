"""Hot reload of the served model: polls the registry's `champion` alias, loads and tries a new version, swaps it in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fullcircle.core.errors import FullcircleError, ModelUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.graph.onnx_session import Graph
from fullcircle.graph.onnx_session import kind as graph_kind
from fullcircle.serving.local_copy import LocalCopy
from fullcircle.tracking.registry.model_registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATIENCE_S = 30.0
"""How long a server that starts waits for a registry that neither answers nor refuses, where it has a copy to serve."""
CLOSING_S = 10.0
SHOWN_ANSWERS = 20
logger = logging.getLogger(__name__)


class NoChampion(ModelUnavailable):
    """The registry answers that no version is the champion."""


class ModelSource(Protocol):
    """What following needs of a model registry."""

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias points at, or None."""
        ...

    def graph(self, version: ModelVersion) -> Path:
        """Its ONNX file, on this machine. Raises ModelUnavailable."""
        ...


class Predictor(Protocol):
    """What serving needs of a loaded graph."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of the numbers that it answers with, in order."""
        ...

    @property
    def inputs(self) -> tuple[tuple[str, str], ...]:
        """(column, "float32", "string" or "float32[height,width,channels]"), as it takes them."""
        ...

    def predict(self, tensors: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        """Answers, float32 (rows,) or (rows, numbers); columns are (rows, 1), or (rows, height, width, channels)."""
        ...


@dataclass(frozen=True)
class ServedModel:
    """One loaded version. A request holds on to the one that it began with."""

    version: ModelVersion
    graph: Predictor


Load = Callable[[Path, str], Predictor]


class ModelReloader:
    """The champion, loaded, and kept up with in a thread.

    Guarantees: `current` changes in one step, and only to a version that was loaded and answered a row; while a new
    one cannot be had, the old one stays and `problem` says why. When the first one cannot be had, the version that this
    home served last takes its place, from its local copy, until the registry answers. Use as a context manager, or
    `start` and `close`.

    Args:
        poll_s: how often the alias is looked at.
        registry, load: where versions and graphs come from; MLflow's registry and onnxruntime by default.
        local: the copies of this home; by default none with another registry than MLflow's.
        patience_s: how long `start` waits for the registry.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        poll_s: float = 2.0,
        *,
        registry: ModelSource | None = None,
        load: Load | None = None,
        local: LocalCopy | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._settings, self._project, self._poll_s = settings, project, poll_s
        self._registry, self._load = registry, load or _load_graph
        self._local = LocalCopy(settings, project.name) if registry is None and local is None else local
        self._patience_s = patience_s
        self._current: ServedModel | None = None
        self._from_copy = False
        self._away_since: datetime | None = None
        self._swapping, self._looked = threading.Lock(), threading.Event()
        self._problem = f"no version of {project.name!r} was looked for yet"
        self._checking = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def current(self) -> ServedModel | None:
        """The version that answers now; None before the first one could be loaded."""
        return self._current

    @property
    def problem(self) -> str:
        """Why the champion, or a newer one, does not answer; "" while all is well."""
        return self._problem

    def start(self) -> ModelReloader:
        """Load the champion if there is one, and follow it in a thread. A failure is a `problem`, not an error."""
        self._thread = threading.Thread(target=self._poll, name="champion-follower", daemon=True)
        self._thread.start()
        if not self._looked.wait(self._patience_s):  # a registry may be silent for minutes; callers wait for answers
            said = self._serve_local_copy(f"it has not answered for {self._patience_s:.0f} s", answered=False)
            if self._current is None or self._from_copy:
                self._say(said)
            if self._current is None:
                self._looked.wait()
        return self

    def check(self) -> None:
        """Look at the alias once and take over what it points at. Never raises: see `problem`."""
        with self._checking:
            try:
                self._swap_in()
                problem, self._away_since = "", None
            except NoChampion as error:
                problem = str(error)
            except FullcircleError as error:
                problem = self._serve_local_copy(str(error), answered=isinstance(error, ModelUnavailable))
            except Exception as error:  # noqa: BLE001  # whatever a registry raises, the old version goes on answering
                why = f"cannot follow the champion of {self._project.name!r} ({type(error).__name__}: {error})"
                problem = self._serve_local_copy(why, answered=False)
            self._say(problem)

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:  # once, not at every poll
            kept = f"; version {self._current.version.version} goes on answering" if self._current else ""
            logger.warning("%s%s", problem, kept)
        self._problem = problem

    def close(self) -> None:
        """Stop following. What is loaded stays usable. Safe to call twice."""
        self._stop.set()
        if self._thread:
            self._thread.join(CLOSING_S)  # it may be waiting for a silent registry, and dies with the process

    def __enter__(self) -> ModelReloader:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _poll(self) -> None:
        while True:
            self.check()
            self._looked.set()
            if self._stop.wait(self._poll_s):
                return

    def _swap_in(self) -> None:
        if self._registry is None:
            self._registry = Registry(self._settings)
        name = self._project.name
        version = self._registry.alias(name, CHAMPION)
        if version is None:
            raise NoChampion(
                f"no version of {name!r} is the champion",
                hint="" if self._current else f"'fullcircle run {name}' trains and releases one",
            )
        now = self._current
        if now and (now.version.version, now.version.digest) == (version.version, version.digest):
            if self._from_copy:
                logger.info("%s: the registry answers again, and version %s is its champion", name, version.version)
            self._from_copy = False
            return
        graph = self._load(self._registry.graph(version), version.digest)
        _try(graph, self._project, version)
        with self._swapping:
            self._current, self._from_copy = ServedModel(version, graph), False
        logger.info("%s version %s (%s) answers now", name, version.version, version.digest[:12])
        if self._local is not None:
            self._local.save(version)

    def _serve_local_copy(self, why: str, *, answered: bool) -> str:
        """Let the version that was served last answer, where none does; what there is to say then.

        Args:
            answered: the registry did, and what it named cannot be had.
        """
        if self._local is None:
            return why
        self._away_since = None if answered else self._away_since or datetime.now(UTC)
        if self._away_since is not None:
            why = f"registry unreachable since {self._away_since:%Y-%m-%dT%H:%M:%SZ}: {why}"
        with self._swapping:
            if self._current is None:
                try:
                    self._current, self._from_copy = self._copied(self._local), True
                except FullcircleError as error:
                    return f"{why}; {error.what}"
            current = self._current
        return f"serving version {current.version.version} from the local copy, {why}" if self._from_copy else why

    def _copied(self, local: LocalCopy) -> ServedModel:
        version, path = local.load()
        graph = self._load(path, version.digest)
        _try(graph, self._project, version)
        return ServedModel(version, graph)


def _load_graph(path: Path, digest: str) -> Predictor:
    return Graph.load(path, digest=digest)


def _try(graph: Predictor, project: Project, version: ModelVersion) -> None:
    """Let it answer a few rows before anyone waits for it. Raises ModelUnavailable when it does not fit or answer."""
    kinds = {column.name: graph_kind(column) for column in project.inputs}
    shapes = {column.name: column.tensor_shape for column in project.inputs}
    what = f"version {version.version} of {project.name!r}"
    for column, kind in graph.inputs:
        if kinds.get(column) != kind:
            has = f"the project has {kinds[column]}" if column in kinds else "the project has no such column"
            raise ModelUnavailable(
                f"{what} takes column {column!r} as {kind}, but {has}",
                hint="serve the project.py that it was trained with",
            )
    if graph.answers != (wanted := project.target.answers.numbers):
        raise ModelUnavailable(
            f"{what} answers with {_listed(graph.answers)}, but the project has {_listed(wanted)}",
            hint=f"serve the project.py that it was trained with, or train anew: 'fullcircle run {project.name}'",
        )
    for rows in (1, 1, 64):
        tensors: dict[str, NDArray[np.generic]] = {
            name: np.full((rows, 1), "", object) if kind == "string" else np.zeros((rows, *shapes[name]), "float32")
            for name, kind in kinds.items()
        }
        if fault := project.target.fault(graph.predict(tensors), rows):
            raise ModelUnavailable(f"{what} does not answer with {_listed(wanted)} for each row: they {fault}")


def _listed(names: Sequence[str]) -> str:
    """A few names of answers in words."""
    more = len(names) - SHOWN_ANSWERS
    return ", ".join(names[:SHOWN_ANSWERS]) + (f" and {more} more" if more > 0 else "")
