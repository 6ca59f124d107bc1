"""The Project contract: all that the platform is told about one problem.

A project is a Python file, `<name>/project.py`, with one value `project = Project(...)`. The platform
knows no project; a project knows nothing of the platform but this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from fullcircle.core.columns import Category as Category
from fullcircle.core.columns import Column as Column
from fullcircle.core.columns import Image as Image
from fullcircle.core.columns import Number as Number
from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.gates import METRICS as METRICS
from fullcircle.core.gates import Agrees as Agrees
from fullcircle.core.gates import AtLeast as AtLeast
from fullcircle.core.gates import Better as Better
from fullcircle.core.gates import Budgets as Budgets
from fullcircle.core.gates import Evidence as Evidence
from fullcircle.core.gates import Gate as Gate
from fullcircle.core.gates import NotWorse as NotWorse
from fullcircle.core.gates import Slice as Slice
from fullcircle.core.gates import check_gate
from fullcircle.core.ranges import (
    LARGEST,
    NUMBERS,
    SMALLEST,
    Count,
    Delay,
    Seconds,
    Share,
    Span,
    Within,
    check_fields,
    misfit,
    shown,
)
from fullcircle.core.search import Choice as Choice
from fullcircle.core.search import Integer as Integer
from fullcircle.core.search import LogUniform as LogUniform
from fullcircle.core.search import Range, check_search
from fullcircle.core.search import Uniform as Uniform

APPROVALS = ("gate", "human")
"""Who may release a challenger that passed the gate."""

RESERVED = frozenset(
    (
        *("prediction_id", "row_id", "event_time", "logged_at", "model_version", "model_digest"),
        *("probability", "label", "features"),
    )
)
"""Names of the prediction log's columns and of the graph's inner tensor, which no column of a project may have."""


@dataclass(frozen=True)
class Binary:
    """A target column that is 0 or 1.

    Attributes:
        positive: what 1 means, in words ("arrived more than 15 minutes late").
    """

    name: str
    positive: str


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How much of the newest data is held back, by time: first `validation`, then `test` after it."""

    validation: Span = timedelta(days=14)
    test: Span = timedelta(days=14)
    history: Span | None = None
    """How far back training reaches; None: all that there is."""
    suspicious_auc: Annotated[float, Within(0.5, 2.0)] = 0.95
    """A single column that alone reaches this ROC AUC is taken for a leak of the answer; above 1: none is."""

    def __post_init__(self) -> None:
        check_fields(self, "split")


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How a window of predictions is judged.

    Attributes:
        every, window: how often to look, and at how much.
        false_alarms: share of windows without any drift that may be flagged, per column (the threshold is
            resampled from the reference at the window's own size to hold it).
        drifted_share: share of drifted columns from which the window as a whole counts as drifted.
        min_rows: below this many rows a window is too small to judge.
    """

    every: Span = timedelta(days=1)
    window: Span = timedelta(days=28)
    false_alarms: Annotated[float, Within(0.0, 0.5, above=True)] = 0.01
    drifted_share: Annotated[float, Within(0.0, 1.0, above=True)] = 0.5
    min_rows: Annotated[int, Within(1, 2**31 - 1)] = 200

    def __post_init__(self) -> None:
        check_fields(self, "watch")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When to retrain or roll back.

    Attributes:
        tolerated_drop: fall of ROC AUC below what the gate measured at release that is put up with.
        on_drift: whether a window that drifted as a whole asks for a retrain while its performance still holds. It
            costs computing time and, the gate being what it is, nothing else.
        cooldown: shortest time between two retrains, in the time of the data.
        max_retrains: most retrains in any `budget_window`.
        rollback_margin: ROC AUC by which the previous champion must beat the champion on the same labelled rows.
        auto_rollback: whether a rollback that was decided is carried out at once, when the previous champion's graph
            loads. Else, and always where `approval` is "human", on-call is paged with the command.
    """

    tolerated_drop: Share = 0.02
    on_drift: bool = True
    cooldown: Delay = timedelta(days=20)
    max_retrains: Annotated[int, Within(0, NUMBERS)] = 6
    budget_window: Span = timedelta(days=365)
    rollback_margin: Share = 0.02
    auto_rollback: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "policy")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Parameters of training, the same for both frameworks unless `torch` or `keras` in `extra` says otherwise."""

    epochs: Count = 20
    batch_size: Annotated[int, Within(2, 2**31 - 1)] = 512
    learning_rate: Annotated[float, Within(SMALLEST, LARGEST)] = 1e-3
    patience: Count = 3
    class_weights: bool = True
    clip_norm: Annotated[float, Within(SMALLEST, LARGEST)] | None = None
    """Largest norm of the gradient of a step; a longer one is shortened to it. None: as it is."""
    seed: Annotated[int, Within(0, 2**32 - 1)] = 13
    """NumPy and Keras take no other one."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Passed on to the project's model functions as their `params`."""

    def __post_init__(self) -> None:
        check_fields(self, "training")
        for framework in ("baseline", "torch", "keras"):  # what one of them is given in place of what all are
            own = dict(self.extra).get(framework)
            for name, value in own.items() if isinstance(own, Mapping) else ():
                if name in _TRAINING_FIELDS and (must := misfit(Training, name, value)) is not None:
                    where = f"training.extra[{framework!r}][{name!r}]"
                    raise ProjectInvalid(f"{where} must be {must}, got {shown(value)}")


_TRAINING_FIELDS = frozenset(each.name for each in fields(Training)) - {"extra"}


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how training runs. It changes speed, memory and rounding; what is learned stays the same.

    Attributes:
        where: `inline`, `local:N` (N processes here), `ray` or `ray://host:port`, or `auto`: what the hardware offers.
        device: `auto`, `cpu`, `cuda` or `tpu`.
        precision: what forward and backward compute in; the weights stay float32.
        strategy: how torch shares a model among processes: `ddp` copies it, `fsdp` shards it (FSDP2).
        compile: torch.compile, or XLA (`jit_compile`) for Keras.
        accumulate: parts that a batch is computed in, one after the other: less memory, the same step.
        threads: threads of one process within an operator. One gives the same bits on every machine.
        checkpoint_every_s, checkpoint_every_steps: whichever comes first; None: not by this. The end of an epoch
            is always one.
        keep: checkpoints that are kept, the newest ones.
        storage: folder or fsspec URL (`s3://bucket/prefix`) for checkpoints; None: under FULLCIRCLE_HOME.
        max_restarts: how often dead or hung processes are replaced before the job fails.
        stall_s: a process without a step for so long is taken for hung.
        grace_s: time to write a checkpoint after SIGTERM.
        budget_s: seconds of steps after which training ends with the best epoch so far; None: no bound.
    """

    where: str = "inline"
    device: Literal["auto", "cpu", "cuda", "tpu"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    strategy: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    accumulate: Annotated[int, Within(1, 2**20)] = 1
    threads: Annotated[int, Within(1, 4096)] = 1
    checkpoint_every_s: Seconds | None = 30.0
    checkpoint_every_steps: Annotated[int, Within(1, 2**53)] | None = None
    keep: Annotated[int, Within(1, 10_000)] = 2
    storage: str | None = None
    max_restarts: Annotated[int, Within(0, 10_000)] = 3
    stall_s: Seconds = 300.0
    grace_s: Annotated[float, Within(0.0, 1e6)] = 30.0
    budget_s: Seconds | None = None

    def __post_init__(self) -> None:
        check_fields(self, "compute")


Shape = tuple[int, ...]
"""Shape of one row's features: `(features,)` of a table, `(height, width, channels)` of an image."""

ModelFunction = Callable[[Any, Mapping[str, Any]], Any]
"""`(inputs, params) -> torch.nn.Module | keras.Model`: float32 (batch, *inputs) in, one logit (batch, 1) out.

`inputs` is the number of features of a table (int); of an image it is (channels, height, width) for torch and
(height, width, channels) for Keras.
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """One problem: its columns, target, models, gates and routes.

    Attributes:
        data: folder of Parquet partitions named `<YYYY-MM>.parquet`, relative to the project's folder.
        time: column with the event's time (UTC). Splits and windows are cut by it.
        row_id: column with a stable id of a row. Labels find their prediction by it.
        labels_after: how long after the event the label is known.
        torch, keras: functions that build the model; at least one is given.
        approval: who releases a challenger that passed the gate: `gate`, at once, or `human`: it waits for
            `fullcircle approve` or `reject`.
        search: `training.<name>` -> what `fullcircle tune` may try for it; empty: the learning rate and batch size.
        routes: Apprise URLs that get the pages; the scheme `json://host:port/path` posts JSON to a webhook.
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
    target: Binary
    time: str
    row_id: str
    labels_after: Delay = timedelta(days=1)
    torch: ModelFunction | None = None
    keras: ModelFunction | None = None
    training: Training = Training()
    compute: Compute = Compute()
    split: SplitRule = SplitRule()
    gates: tuple[Gate, ...] = (AtLeast("roc_auc", 0.55), NotWorse("log_loss", 0.01))
    evidence: Evidence = field(default_factory=Evidence)
    slices: tuple[str, ...] = ()
    budgets: Budgets = field(default_factory=Budgets)
    watch: Watch = Watch()
    policy: Policy = Policy()
    approval: Literal["gate", "human"] = "gate"
    search: Mapping[str, Range] = field(default_factory=dict)
    routes: tuple[str, ...] = ()
    folder: Path = Path()

    def __post_init__(self) -> None:
        for name in ("columns", "gates", "slices", "routes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
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
        """The frameworks that this project has a model for, in the order in which they are trained."""
        return tuple(name for name in ("torch", "keras") if getattr(self, name) is not None)


_Refuse = Callable[[str, str, object], None]


def _check(project: Project) -> None:
    def refuse(name: str, must: str, got: object) -> None:
        raise ProjectInvalid(f"project {project.name!r}: {name} must {must}, got {shown(got)}")

    for each in fields(project):
        given = getattr(project, each.name)
        if (must := misfit(Project, each.name, given)) is not None:
            refuse(each.name, f"be {must}", given)
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", project.name):
        refuse("name", "be lower-case letters, digits, '-' and '_', starting with a letter", project.name)
    if not project.frameworks:
        refuse("torch / keras", "name at least one function that builds a model", None)
    _check_columns(project, refuse)
    for gate in project.gates:
        check_gate(gate, refuse)
    check_search(project.search, project.training, refuse)
    groupable = {column.name for column in project.inputs if not isinstance(column, Image)}
    sliced = [*project.slices, *(gate.column for gate in project.gates if isinstance(gate, Slice))]
    if unknown := sorted(set(sliced) - groupable):
        refuse("slices", "name input columns that are numbers or categories", unknown)


def _check_columns(project: Project, refuse: _Refuse) -> None:
    names = [column.name for column in project.columns]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        refuse("columns", "be named once each", doubled)
    for label, reserved in (("target", project.target.name), ("time", project.time), ("row_id", project.row_id)):
        if reserved in names:
            refuse("columns", f"not contain the {label} column", reserved)
    if taken := sorted(RESERVED.intersection(names)):
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
    lengths: object = column.shape
    fits = isinstance(lengths, tuple) and len(lengths) == 3
    if not (fits and all(type(length) is int and length > 0 for length in column.shape)):
        refuse(f"the shape of image {column.name!r}", "be (height, width, channels), three positive integers", lengths)
    if not -math.inf < column.low < column.high < math.inf:
        refuse(f"the range of image {column.name!r}", "be finite, low below high", (column.low, column.high))
