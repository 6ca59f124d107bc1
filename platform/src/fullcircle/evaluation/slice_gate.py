"""The gate `SliceGate`: no group of a column, and no actual class, may fall credibly below the champion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from fullcircle.core.project import Project, SliceGate
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.tasks import Metric
from fullcircle.core.tasks.class_slices import FEWEST
from fullcircle.evaluation.gate_types import GateInput, GateOutcome
from fullcircle.evaluation.multiple_testing import fallen_slices
from fullcircle.evaluation.slices import MIN_ROWS, class_slices, largest_group


def slice_gates(gate_input: GateInput, seed: int) -> Iterator[GateOutcome]:
    """The word on each gate of slices, corrected for all slices of all of them together."""
    gates = held_gates(gate_input.project)
    if gate_input.champion is None:
        for gate in gates:
            said = f"{gate.column}: there is no champion to fall below"
            yield GateOutcome(_name(gate), Outcome.PROMOTE, said)
        return
    found = fallen_slices(
        gate_input.project,
        gate_input.frame,
        gate_input.targets,
        gates,
        challenger=gate_input.challenger,
        champion=gate_input.champion,
        seed=seed,
        clusters=gate_input.clusters,
    )
    for gate, (looked_at, fallen) in zip(gates, found, strict=True):
        metric = gate_input.project.target.metrics_in(gate.column)[gate.metric]
        unjudged = _unjudged(gate, gate_input)
        yield (
            slice_outcome(gate, metric, looked_at, fallen, gate_input.version, unjudged)
            if looked_at
            else _no_group(gate, gate_input)
        )


def held_gates(project: Project) -> list[SliceGate]:
    """The gates of slices that the project names; where none of them is by the actual class, that of its task too."""
    named = [gate for gate in project.gates if isinstance(gate, SliceGate)]
    by_class = project.target.by_class
    if by_class is None or any(gate.column == by_class.column for gate in named):
        return named
    return [*named, SliceGate(by_class.column, by_class.main.name, by_class.drop)]


def slice_outcome(
    gate: SliceGate,
    metric: Metric,
    looked_at: int,
    fallen: Sequence[tuple[str, Interval]],
    version: str,
    unjudged: str = "",
) -> GateOutcome:
    """The word on a column's groups.

    Args:
        looked_at: how many groups were.
        fallen: (group, fall) of those that credibly fell.
        unjudged: which were not looked at, and why.
    """
    limit = f"{metric.title} more than {gate.drop:g} {metric.wrong_side} {version}'s"
    if not fallen:
        said = f"{gate.column}: in none of {looked_at} groups is {limit}"
        return GateOutcome(_name(gate), Outcome.PROMOTE, said + unjudged)
    worst = "; ".join(f"{group} by {fall}" for group, fall in fallen)
    off = max(fall.value for _, fall in fallen) - gate.drop
    return GateOutcome(_name(gate), Outcome.REJECT, f"{gate.column}: {limit} in {worst}{unjudged}", off)


def _unjudged(gate: SliceGate, gate_input: GateInput) -> str:
    """Which classes have too few rows: what nobody looked at is not said to hold."""
    slices = class_slices(gate_input.project, gate_input.targets, gate.column)
    few = [f"{each.group} ({each.rows} rows)" for each in slices if not each.is_judgeable]
    return f"; too few rows to judge {', '.join(few)}" if few else ""


def _no_group(gate: SliceGate, gate_input: GateInput) -> GateOutcome:
    """A fall that nobody could have seen is none that was ruled out."""
    by_class = gate_input.project.target.by_class
    if by_class is not None and gate.column == by_class.column:
        largest, least, what = by_class.largest(gate_input.targets), FEWEST, f"class has the {FEWEST} rows"
    else:
        largest, least = largest_group(gate_input.project, gate_input.frame, gate.column), MIN_ROWS
        what = f"group has the {MIN_ROWS} rows that can be judged"
    needed = math.ceil(len(gate_input.targets) * least / largest) if largest < least else None
    said = f"{gate.column}: no {what} on which a fall would show"
    return GateOutcome(_name(gate), Outcome.INCONCLUSIVE, said, None, needed)


def _name(gate: SliceGate) -> str:
    return f"{gate.metric} in each {gate.column}"
