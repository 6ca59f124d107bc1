"""The utilisation report of a training, on one page: a picture, the figures, and one sentence of advice.

Efficiencies are those of the POP centre of excellence (co-design.pop-coe.eu/metrics): parallel efficiency is the mean
over the processes of the time in which they computed, divided by the time of the steps (of the process that took
longest); it is load balance (mean over most computing time) times communication efficiency (most computing time over
the time of the steps). POP takes 0.8 for acceptable. They say how well processes work together, not whether one process
would be faster alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.security.untrusted import without_formulas
from fullcircle.training.jobs import RankStats

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

# Okabe & Ito 2008: told apart by colour-blind readers too.
PARTS = {
    "compute": ("forward and backward", "#009E73"),
    "data": ("waiting for data", "#E69F00"),
    "communication": ("waiting for other processes", "#56B4E9"),
    "checkpoint": ("writing checkpoints", "#CC79A7"),
    "other": ("validation and the rest", "#bbbbbb"),
}
INK, GRID = "#333333", "#e3e3e3"

DATA_SHARE, CHECKPOINT_SHARE, COMMUNICATION_SHARE, OTHER_SHARE = 0.20, 0.10, 0.25, 0.50
"""Shares of the time from which a part is what to mend; below them the training is at work."""
LEAST_BALANCE = 0.80
"""Load balance below which some processes wait for others: POP's mark for acceptable."""
MANY_RANKS = 16
"""More bars than this do not fit on a page: the slowest ones are shown."""


@dataclass(frozen=True, kw_only=True)
class Utilisation:
    """Figures of a training over all of its processes; shares are of the summed wall time.

    Attributes:
        shares: part (see `PARTS`) -> share of the time, summing to 1.
        parallel_efficiency, load_balance, communication_efficiency: from 0 to 1, POP's; 1 for one process.
        samples_per_second: rows learned a second by all processes together, while they were stepping.
        wall_s: of the process that took longest, without its start.
        peak_mb: most memory of one process.
        first_step_s: the longest time from the launch to a first step: processes, imports, compilation.
        sentence: what matters, in words, with what to do.
    """

    ranks: int
    wall_s: float
    shares: dict[str, float]
    parallel_efficiency: float
    load_balance: float
    communication_efficiency: float
    samples_per_second: float
    peak_mb: float
    gpu_peak_mb: float
    first_step_s: float
    sentence: str


def utilisation(use: Sequence[RankStats]) -> Utilisation | None:
    """The figures; None when no process did a step in this launch (it found itself done, or is the baseline)."""
    use = [one for one in use if one.steps and one.wall_s > 0]
    if not use:
        return None
    parts = [parts_of(one) for one in use]
    total = sum(sum(each.values()) for each in parts)
    shares = {name: sum(each[name] for each in parts) / total for name in PARTS}
    wall_s = max(one.wall_s for one in use)
    stepping = max(one.seconds.total for one in use)
    computed = [one.seconds.compute for one in use]
    most, mean = max(computed), sum(computed) / len(computed)
    found = Utilisation(
        ranks=len(use),
        wall_s=wall_s,
        shares=shares,
        parallel_efficiency=mean / stepping if stepping else 1.0,
        load_balance=mean / most if most else 1.0,
        communication_efficiency=most / stepping if stepping else 1.0,
        samples_per_second=sum(one.samples for one in use) / stepping if stepping else 0.0,
        peak_mb=max(one.peak_mb for one in use),
        gpu_peak_mb=max(one.gpu_peak_mb for one in use),
        first_step_s=max(one.first_step_s for one in use),
        sentence="",
    )
    return dataclasses.replace(found, sentence=_sentence(found, use))


def parts_of(one: RankStats) -> dict[str, float]:
    """Seconds of each part of one process; what is none of the four is `other`."""
    known = {name: getattr(one.seconds, name) for name in ("compute", "data", "communication", "checkpoint")}
    return {**known, "other": max(0.0, one.wall_s - sum(known.values()))}


def _sentence(found: Utilisation, use: Sequence[RankStats]) -> str:
    """The worst thing that can be mended, with what to do; else that the time goes into learning."""
    share = found.shares
    slow = max(use, key=lambda one: one.seconds.compute)
    if found.first_step_s > found.wall_s:
        return (
            f"The start took {found.first_step_s:.1f} s, the training itself {found.wall_s:.1f} s: it is too short for "
            f"{'more than one process' if found.ranks > 1 else 'more hardware'} to help."
        )
    if share["data"] >= DATA_SHARE:
        return (
            f"{share['data']:.0%} of the time waiting for data: rows are read slower than they are learned from. "
            "Put FULLCIRCLE_HOME on a faster disk, give the machine memory for all rows, or raise training.batch_size."
        )
    if share["checkpoint"] >= CHECKPOINT_SHARE:
        return (
            f"{share['checkpoint']:.0%} of the time writing checkpoints: raise compute.checkpoint_every_s, or name a "
            "faster compute.storage. The end of an epoch is always one: very short epochs pay for it."
        )
    if found.ranks > 1 and found.load_balance < LEAST_BALANCE:
        return (
            f"Process {slow.rank} on {slow.host} computes {1 / found.load_balance:.1f} times as long as the average "
            "while the others wait: its machine is slower, or shared. Use equal machines, or free that one."
        )
    if share["communication"] >= COMMUNICATION_SHARE:
        return (
            f"{share['communication']:.0%} of the time waiting for other processes: the steps are too short for "
            f"{found.ranks} of them. Raise training.batch_size, or use fewer processes."
        )
    if share["other"] >= OTHER_SHARE:
        return (
            f"{share['other']:.0%} of the time outside the steps, mostly for validation: fewer validation rows, or "
            "longer epochs, would make it faster."
        )
    return (
        f"{share['compute']:.0%} of the time in forward and backward: a faster processor or a GPU, more processes, or "
        "a lower compute.precision is what would make it faster."
    )


def picture(found: Utilisation, use: Sequence[RankStats], path: Path, title: str = "") -> Path:
    """The page as a PNG: a bar a process, the figures under it, the sentence on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = sorted((one for one in use if one.steps), key=lambda one: -one.seconds.compute)[:MANY_RANKS]
    shown.sort(key=lambda one: one.rank)
    figure = Figure(figsize=(9.6, 2.9 + 0.42 * len(shown)), facecolor="white")
    figure.set_layout_engine("constrained", h_pad=0.08)
    FigureCanvasAgg(figure)  # no pyplot: its global state is not safe in threads
    figure.suptitle(_wrapped(found.sentence), x=0.012, ha="left", fontsize=11, color=INK, fontweight="bold")
    bars, figures = figure.subplots(2, 1, height_ratios=(len(shown) * 0.42 + 0.9, 1.0))
    _bars(bars, shown, found, title)
    _figures(figures, found, all(one.communication_measured for one in use))
    path.parent.mkdir(parents=True, exist_ok=True)
    without_formulas(figure)
    figure.savefig(path, dpi=130)
    return path


def _bars(axes: Axes, shown: Sequence[RankStats], found: Utilisation, title: str) -> None:
    starts = [0.0] * len(shown)
    for name, (label, colour) in PARTS.items():
        widths = [parts_of(one)[name] for one in shown]
        text = f"{label} {found.shares[name]:.0%}"
        axes.barh(range(len(shown)), widths, left=starts, color=colour, height=0.62, label=text)
        for row, (start, width) in enumerate(zip(starts, widths, strict=True)):
            if width > 0.07 * found.wall_s:
                axes.annotate(f"{width:.1f} s", (start + width / 2, row), ha="center", va="center", fontsize=8)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    names = [f"rank {one.rank}\n{one.host}" if found.ranks > 1 else one.host for one in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    axes.set_xlabel("seconds", color=INK)
    more = f", the {len(shown)} that compute longest" if len(shown) < found.ranks else ""
    axes.set_title(f"{title}{more}".strip(", "), loc="left", fontsize=10, color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=3)


def _figures(axes: Axes, found: Utilisation, measured: bool) -> None:
    axes.set_axis_off()
    memory = f"{found.peak_mb:,.0f} MB"
    if found.gpu_peak_mb:
        memory += f" + {found.gpu_peak_mb:,.0f} MB GPU"
    cells = [
        ("samples a second", f"{found.samples_per_second:,.0f}"),
        ("from launch to first step", f"{found.first_step_s:.2f} s"),
        ("peak memory a process", memory),
        ("parallel efficiency (POP)", f"{found.parallel_efficiency:.0%}"),
    ]
    if found.ranks > 1:
        cells.append(("load balance", f"{found.load_balance:.0%}"))
    for column, (label, value) in enumerate(cells):
        at = column / len(cells) + 0.005
        axes.text(at, 0.62, value, fontsize=13, color=INK, transform=axes.transAxes)
        axes.text(at, 0.28, label, fontsize=8.5, color="#666666", transform=axes.transAxes)
    if not measured and found.ranks > 1:
        note = "The framework communicates inside its graph: that time is part of forward and backward."
        axes.text(0.005, 0.0, note, fontsize=8, color="#666666", style="italic", transform=axes.transAxes)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 98))
