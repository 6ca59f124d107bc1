"""Pictures of what an evaluation's curves hold, by the names that tasks give them. PNG files, a panel a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fullcircle.core.security.untrusted import figure_text
from fullcircle.core.tasks.answer_format import with_unit
from fullcircle.evaluation.curves import REST
from fullcircle.evaluation.plots import COLOURS, GRID, INK, cycle, figure_of, finish, saved

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fullcircle.core.records.verdicts import Evaluation
    from fullcircle.core.tasks import Task

    Found = Mapping[str, Evaluation]

FAINT, DIAGONAL, POOLED = "#777777", "#888888", "#444444"
NAME, MODEL, UNIT = 14, 24, 24
"""Characters of a class's name, a model's and a unit that are drawn."""

HEAD = 0.62
"""Inches above the panels, for the title and the note below it."""

HEAVY = 20.0
"""A scale is logarithmic where the largest value is so many times as far from the median as the usual one."""


def reliability_plot(task: Task, evaluations: Found, path: Path) -> Path:
    """Observed share against predicted probability, one line a model, in 10 bins of equal count.

    Args:
        evaluations: label -> evaluation.
    """
    figure = figure_of(6.4, 5.2)
    axes = figure.subplots()
    most = 0.0
    for colour, (label, evaluation) in zip(cycle(len(evaluations)), evaluations.items(), strict=True):
        predicted, observed = (
            [b[0] for b in evaluation.curves["reliability"]],
            [b[1] for b in evaluation.curves["reliability"]],
        )
        most = max(most, *predicted, *observed)
        error = evaluation.metrics["calibration_error"].value
        axes.plot(predicted, observed, "o-", color=colour, lw=1.8, ms=5, label=f"{label} (error {error:.3f})")
    limit = min(1.0, most * 1.08 + 0.02)
    axes.plot([0, limit], [0, limit], ls=(0, (4, 3)), color=DIAGONAL, lw=1.2, label="perfectly calibrated", zorder=1)
    axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="predicted probability", ylabel="observed share")
    axes.set_title("Reliability on the test rows", loc="left", fontsize=12, color=INK, pad=10)
    finish(axes)
    axes.grid(color=GRID, lw=0.8)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return saved(figure, path)


def reliability_by_class_plot(task: Task, evaluations: Found, path: Path) -> Path:
    """Observed share against predicted probability, one line a class, in 10 bins of equal count."""
    curves = _curves(evaluations, "reliability_by_class")
    codes = sorted({int(line[0]) for curve in curves for line in curve}, key=lambda code: (code == REST, code))
    names, pooled = _class_names(task, codes), _pooled(task, codes)
    title, note = "Reliability on the test rows, each model", f"Perfectly calibrated on the dashed line.{pooled}"
    figure, panels = _panels(task, evaluations, (3.7, 3.5), title, note, right=1.9)
    limit = min(1.0, 1.08 * max((max(line[1:3]) for curve in curves for line in curve), default=1.0) + 0.02)
    for axes, curve in zip(panels, curves, strict=True):
        axes.plot([0, limit], [0, limit], ls=(0, (4, 3)), color=DIAGONAL, lw=1.2, zorder=1)
        for index, code in enumerate(codes):
            bins = np.array([line[1:] for line in curve if int(line[0]) == code]).reshape(-1, 3)
            colour = POOLED if code == REST else COLOURS[index % len(COLOURS)]
            axes.plot(bins[:, 0], bins[:, 1], "o-", color=colour, lw=1.5, ms=3.5, label=names[index])
        axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="predicted probability", ylabel="observed share")
        axes.grid(color=GRID, lw=0.8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return saved(figure, path)


def confusion_matrix_plot(task: Task, evaluations: Found, path: Path) -> Path:
    """Which classes are taken for which: rows of each true class, shaded by its share, by what was answered."""
    curves = _curves(evaluations, "confusion_matrix")
    codes = [int(code) for code in curves[0][0]]
    names = _class_names(task, codes)
    longest = max(map(len, names))
    side = 0.5 * len(codes) + 0.085 * longest + 0.6
    note = f"Test rows; the darker, the larger the share of a line.{_pooled(task, codes)}"
    title = f"What is answered for each {task.answer_format.part}"
    figure, panels = _panels(task, evaluations, (max(side, 3.2), max(side, 2.6)), title, note)
    for axes, curve in zip(panels, curves, strict=True):
        _draw_matrix(axes, np.array(curve[1:]))
        axes.set_xticks(range(len(names)), names)
        if longest > 3:
            for text in axes.get_xticklabels():
                text.set(rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="answered", ylabel="actual")
    return saved(figure, path)


def _draw_matrix(axes: Axes, counts: NDArray[np.float64]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", ["#ffffff", COLOURS[0]]), vmin=0, vmax=1)
    for (line, column), count in np.ndenumerate(counts):
        colour = "white" if shares[line, column] > 0.55 else INK if count else "#bbbbbb"
        axes.text(column, line, _short_count(count), ha="center", va="center", fontsize=8, color=colour)
    for side in axes.spines.values():
        side.set_visible(False)


def predicted_against_actual_plot(task: Task, evaluations: Found, path: Path) -> Path:
    """A point a row: what was predicted, and what came true."""
    curves = [np.array(curve).reshape(-1, 2) for curve in _curves(evaluations, "predicted_against_actual")]
    note = f"{len(curves[0]):,} of {next(iter(evaluations.values())).rows:,} test rows. Right on the dashed line."
    figure, panels = _panels(task, evaluations, (3.7, 3.5), "Predicted against actual", note)
    every = np.concatenate(curves).reshape(-1)
    unit = figure_text(task.answer_format.unit, UNIT)
    for axes, points in zip(panels, curves, strict=True):
        axes.scatter(points[:, 0], points[:, 1], s=9, color=COLOURS[0], alpha=0.35, linewidths=0, zorder=3)
        limits = _scaled(axes, "x", every)
        _scaled(axes, "y", every)
        axes.plot(limits, limits, ls=(0, (4, 3)), color=DIAGONAL, lw=1.2, zorder=1)
        axes.set(xlabel=with_unit("actual", unit), ylabel=with_unit("predicted", unit))
        axes.grid(color=GRID, lw=0.8)
    return saved(figure, path)


def residuals_plot(task: Task, evaluations: Found, path: Path) -> Path:
    """What was actual minus what was predicted, along the predictions: where a model says too little or too much."""
    curves = [np.array(curve).reshape(-1, 5) for curve in _curves(evaluations, "residuals")]
    note = "Above 0 the prediction is too low. Line: the median; band: the middle 80%, of ten groups of equal size."
    figure, panels = _panels(task, evaluations, (3.7, 3.2), "Residuals along the predictions", note)
    predicted = np.concatenate([curve[:, 0] for curve in curves])
    errors = np.concatenate([curve[:, 1:4].reshape(-1) for curve in curves])
    unit = figure_text(task.answer_format.unit, UNIT)
    for axes, curve in zip(panels, curves, strict=True):
        at, low, median, high, _ = curve.T
        axes.axhline(0, ls=(0, (4, 3)), color=DIAGONAL, lw=1.2, zorder=1)
        axes.vlines(at, low, high, color=COLOURS[0], lw=1.0, alpha=0.4)
        axes.fill_between(at, low, high, color=COLOURS[0], alpha=0.18, linewidth=0)
        axes.plot(at, median, "o-", color=COLOURS[0], lw=1.8, ms=4)
        _scaled(axes, "x", predicted)
        _scaled(axes, "y", errors)
        axes.set(xlabel=with_unit("predicted", unit), ylabel=with_unit("actual minus predicted", unit))
        axes.grid(color=GRID, lw=0.8)
    return saved(figure, path)


PLOTS: dict[str, Callable[[Task, Found, Path], Path]] = {
    "reliability": reliability_plot,
    "reliability_by_class": reliability_by_class_plot,
    "confusion_matrix": confusion_matrix_plot,
    "predicted_against_actual": predicted_against_actual_plot,
    "residuals": residuals_plot,
}
"""Pictures of evaluations, by the name that a task gives each: `(task, evaluations by label, path)` -> path."""


def _curves(evaluations: Found, name: str) -> list[Any]:
    return [each.curves[name] for each in evaluations.values()]


def _panels(
    task: Task, evaluations: Found, size: tuple[float, float], title: str, note: str, right: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A panel for each model, named by it and its primary metric, below a title and a note.

    Args:
        size: of a panel, in inches.
        right: inches to the right of all panels.
    """
    count = len(evaluations)
    across = min(count, 3 if size[0] < 4.5 else 2)
    down = -(-count // across)
    # At least as wide as the note, at 9.5 points.
    width = max(across * (size[0] + 0.2) + right, 0.072 * len(note) + 0.3)
    height = down * (size[1] + 0.55) + HEAD
    figure = figure_of(width, height)
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0.0, 0.0, 1.0, 1.0 - HEAD / height), w_pad=0.08, h_pad=0.08)
    figure.text(0.1 / width, 1 - 0.10 / height, title, ha="left", va="top", fontsize=12, color=INK)
    figure.text(0.1 / width, 1 - 0.36 / height, note, ha="left", va="top", fontsize=9.5, color=FAINT)
    panels = list(np.asarray(figure.subplots(down, across, squeeze=False)).ravel())
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes, (label, evaluation) in zip(panels, evaluations.items(), strict=False):
        axes.set_title(_model_title(task, label, evaluation), loc="left", fontsize=10, color=INK)
        finish(axes)
    return figure, panels[:count]


def _model_title(task: Task, label: str, evaluation: Evaluation) -> str:
    found = evaluation.metrics.get(task.primary)
    score = "" if found is None else f" ({task.main.title} {found.value:.4g})"
    return figure_text(label, MODEL) + score


def _class_names(task: Task, codes: Sequence[int]) -> list[str]:
    """The names of classes as they are drawn; those that are one when cut are numbered."""
    numbers = [column for column in task.answers.columns if column.is_number]
    named = [code for code in codes if code != REST]
    short = {code: figure_text(numbers[code].part, NAME) for code in named}
    drawn = list(short.values())
    unique = {code: name if drawn.count(name) == 1 else f"{name} #{code + 1}" for code, name in short.items()}
    return [unique.get(code, f"{task.outputs - len(named):,} others") for code in codes]


def _pooled(task: Task, codes: Sequence[int]) -> str:
    """What to say where not every class has a line of its own."""
    if REST not in codes:
        return ""
    return f" The {len(codes) - 1} most frequent of {task.outputs:,} {task.answer_format.parts}; the others pooled."


def _short_count(count: float) -> str:
    return f"{count:,.0f}" if count < 10_000 else f"{count / 1000:,.0f}k"


def _scaled(axes: Axes, which: Literal["x", "y"], values: NDArray[np.float64]) -> tuple[float, float]:
    """Give an axis the limits that these values need, and a logarithmic scale where a few are very far out.

    Returns:
        The limits.
    """
    from matplotlib.ticker import NullLocator

    axis = getattr(axes, f"{which}axis")
    center = float(np.median(values))
    usual, farthest = (float(np.quantile(np.abs(values - center), share)) for share in (0.5, 0.995))
    if usual and farthest > HEAVY * usual:
        # Linear about 0, where a logarithm has no value: most values are beyond.
        sizes = np.abs(values[values != 0])
        straight = 10.0 ** np.floor(np.log10(np.quantile(sizes, 0.25)))
        getattr(axes, f"set_{which}scale")("symlog", linthresh=straight, linscale=0.5)
        axis.get_major_locator().set_params(numticks=5)
        axis.set_minor_locator(NullLocator())
        room = (1.6 * min(values.min(), 0.0), 1.6 * max(values.max(), 0.0))
    else:
        axes.locator_params(axis=which, nbins=5)
        margin = 0.04 * float(np.ptp(values)) or 0.05 * abs(center) or 1.0
        room = (float(values.min()) - margin, float(values.max()) + margin)
    getattr(axes, f"set_{which}lim")(*room)
    axis.set_major_formatter("{x:,.7g}")
    return room
