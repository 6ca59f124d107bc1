"""The Project itself: its columns, target, models, gates and routes, and what is refused of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Literal

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.field_ranges import Delay, Name, misfit, settled, shown
from fullcircle.core.project.columns import Column, Image
from fullcircle.core.project.gates import (
    Budgets,
    ErrorBudget,
    Gate,
    SliceGate,
    check_gate,
    default_gates,
)
from fullcircle.core.project.model_specs import BASELINE, ModelSpec, merged
from fullcircle.core.project.operation import OnCall, Policy, ReplayPlan, SplitRule, Watch
from fullcircle.core.project.parameters import Compute, ModelFunction, Training, check_own
from fullcircle.core.project.search_space import Range, check_search
from fullcircle.core.tasks.base import Task

RESERVED = frozenset(
    (
        *("prediction_id", "row_id", "event_time", "logged_at", "model_version", "model_digest"),
        *("label", "features"),
    )
)
"""Names of the prediction log's columns and of the graph's inner tensor, which no column of a project may have; the
columns of its task's answers are taken, too."""

LEAST_CLUSTERS = 5
"""Spans of `evidence.cluster` that a judged part must have room for: by fewer no spread of them is known."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """One problem: its columns, target, models, gates and routes.

    Attributes:
        data: folder of Parquet partitions named `<YYYY-MM>.parquet`, relative to the project's folder.
        time: column with the event's time (UTC). Splits and windows are cut by it.
        row_id: column with a stable id of a row. Labels find their prediction by it.
        labels_after: how long after the event the label is known.
        target: what kind of problem it is, and the column that holds the answer.
        models: name -> model: `{"torch": Torch(build_torch), "keras": Keras(build_keras)}`; at least one is given.
        torch, keras: short for the models of those names: `torch=build_torch`.
        gates: what a challenger must show; None: what suits the kind of problem.
        approval: who releases a challenger that passed the gate: `gate`, at once, or `human`: it waits for
            `fullcircle approve` or `reject`.
        search: `training.<name>` -> what `fullcircle tune` may try for it; empty: the learning rate and batch size.
        routes: URLs that get the pages: `alertmanagers://`, `pagerduty://`, `opsgenie://`, `webhook+https://`, `smtps://`,
            and all that Apprise knows; see docs/on-call.md.
        on_call: what happens when nobody answers a page, or nobody watches.
        allowed_private_hosts: hosts of routes that pages may be sent to although they are not of the public internet:
            names that lead to a private address, and link-local addresses.
        folder: where project.py lies; set by `load_project`.

    Raises:
        ProjectInvalid: when a field does not fit, naming it.
    """

    name: str
    owner: str
    purpose: str = ""
    limits: str = ""
    runbook: str = ""
    data: str = "data"
    columns: tuple[Column, ...]
    target: Task
    time: Name
    row_id: Name
    labels_after: Delay = timedelta(days=1)
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    torch: ModelFunction | None = None
    keras: ModelFunction | None = None
    training: Training = field(default_factory=Training)
    compute: Compute = field(default_factory=Compute)
    split: SplitRule = field(default_factory=SplitRule)
    gates: tuple[Gate, ...] = None  # type: ignore[assignment]  # until it is made: then what suits the target
    evidence: ErrorBudget = field(default_factory=ErrorBudget)
    slices: tuple[str, ...] = ()
    budgets: Budgets = field(default_factory=Budgets)
    watch: Watch = field(default_factory=Watch)
    policy: Policy = field(default_factory=Policy)
    replay: ReplayPlan = field(default_factory=ReplayPlan)
    approval: Literal["gate", "human"] = "gate"
    search: Mapping[str, Range] = field(default_factory=dict)
    routes: tuple[str, ...] = ()
    on_call: OnCall = field(default_factory=OnCall)
    allowed_private_hosts: tuple[str, ...] = ()
    folder: Path = Path()

    def __post_init__(self) -> None:
        given: object = self.target
        if not isinstance(given, Task):
            *others, last = sorted(kind.__name__ for kind in Task.__subclasses__())
            kinds = f"a {', '.join(others)} or {last}"
            raise ProjectInvalid(f"project {self.name!r}: target must be {kinds}, got {shown(given)}")
        gates: object = self.gates
        if gates is None:
            object.__setattr__(self, "gates", default_gates(self.target))
        _check(self)

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that a model may see: all but those known only after the outcome."""
        return tuple(column for column in self.columns if not column.after)

    @property
    def partitions(self) -> Path:
        """The folder of monthly Parquet partitions."""
        return (self.folder / self.data).resolve()

    @property
    def frameworks(self) -> tuple[str, ...]:
        """The names of this project's models, in the order in which they are trained; the baseline is none of them."""
        return tuple(self.all_models)

    @property
    def all_models(self) -> dict[str, ModelSpec]:
        """Name -> model, whichever way it was given."""
        return merged(self.models, self.torch, self.keras)


_Refuse = Callable[[str, str, object], None]


def _check(project: Project) -> None:
    def refuse(name: str, must: str, got: object) -> None:
        raise ProjectInvalid(f"project {project.name!r}: {name} must {must}, got {shown(got)}")

    for each in fields(project):
        given = settled(project, each.name)
        if (must := misfit(Project, each.name, given)) is not None:
            refuse(each.name, f"be {must}", given)
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", project.name):
        refuse("name", "be lower-case letters, digits, '-' and '_', starting with a letter", project.name)
    _check_models(project, refuse)
    _check_columns(project, refuse)
    for gate in project.gates:
        check_gate(gate, project.target, refuse)
    check_search(project.search, project.training, refuse)
    shortest = min(project.split.test, project.watch.window)
    if (cluster := project.evidence.cluster) is not None and cluster * LEAST_CLUSTERS > shortest:
        refuse("evidence.cluster", f"be at most 1/{LEAST_CLUSTERS} of split.test and of watch.window", cluster)
    by_class = project.target.by_class
    groupable = {column.name for column in project.inputs if column.groupable}
    groupable |= {by_class.column} if by_class is not None else set()
    sliced = [*project.slices, *(gate.column for gate in project.gates if isinstance(gate, SliceGate))]
    if unknown := sorted(set(sliced) - groupable):
        refuse("slices", "name input columns that are numbers or categories", unknown)


def _check_models(project: Project, refuse: _Refuse) -> None:
    for name, each in project.models.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", str(name)) or name == BASELINE:
            refuse("models", "have names of lower-case letters, digits, '-' and '_', none of them 'baseline'", name)
        given: object = each
        if not isinstance(given, ModelSpec) or not callable(given.build):
            refuse(f"models[{name!r}]", "be a Torch(build) or Keras(build), whose build is a function", given)
    try:
        found = merged(project.models, project.torch, project.keras)
    except ValueError as twice:
        refuse("models", f"not give {str(twice)!r} a second time: {twice}= says it too", tuple(project.models))
    else:
        if not found:
            refuse("models", "name at least one function that builds a model", None)
        check_own(project.training, found)


def _check_columns(project: Project, refuse: _Refuse) -> None:
    names = [column.name for column in project.columns]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        refuse("columns", "be named once each", doubled)
    target = [("target", name) for name in project.target.columns]
    roles = [*target, ("time", project.time), ("row_id", project.row_id)]
    for label, reserved in roles:
        if reserved in names:
            refuse("columns", f"not contain the {label} column", reserved)
    if doubled := [reserved for _, reserved in roles if [name for _, name in roles].count(reserved) > 1]:
        refuse("target, time and row_id", "be different columns", doubled[0])
    if taken := sorted((RESERVED | set(project.target.answers.names)).intersection(names)):
        refuse("columns", "not have a name that the platform uses itself", taken)
    if not project.inputs:
        refuse("columns", "leave at least one column that is known before the outcome", names)
    for column in project.columns:
        if isinstance(column, Image):
            _check_image(column, refuse)
    images = [column.name for column in project.inputs if isinstance(column, Image)]
    if images and len(project.inputs) > 1:
        inputs = [column.name for column in project.inputs]
        refuse("columns", f"have the image {images[0]!r} as the only input, or no image among them", inputs)


def _check_image(column: Image, refuse: _Refuse) -> None:
    if not -math.inf < column.low < column.high < math.inf:
        refuse(f"the range of image {column.name!r}", "be finite, low below high", (column.low, column.high))
