"""SHAP plots: which columns matter (summary), and why one row got its answer (waterfall)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import UsageError
from fullcircle.core.security.untrusted import without_formulas
from fullcircle.core.settings import home_unwritable
from fullcircle.explain.shap_values import Explanation

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN = 14
"""Columns with a bar of their own; the others share the last one."""

HEAD_INCHES = 0.66
"""Strip above the axes for the title and the note below it."""

INK, FAINT, LINE = "#1f2933", "#7b8794", "#d9dee4"
UP, DOWN, BAR = "#d1495b", "#2f6db5", "#3d7ea6"
LOW_TO_HIGH = ("#2f6db5", "#b9c4d0", "#d1495b")


def summary_plot(explanation: Explanation, path: Path) -> Path:
    """One bar for each raw column: its mean effect; beside it, each row's effect, coloured by the column's value.

    Raises:
        HomeUnwritable: the PNG cannot be written.
    """
    ranked = explanation.importance()
    shown = [name for name, _ in ranked[:SHOWN]]
    places = np.arange(len(shown))[::-1]
    figure = figure_of(9.6, 1.7 + 0.36 * len(shown))
    bars, dots = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.7))
    means = [100 * value for _, value in ranked[:SHOWN]]
    bars.barh(places, means, color=BAR, height=0.62)
    for place, mean in zip(places, means, strict=True):
        bars.text(mean, place, f" {mean:.1f}", va="center", ha="left", fontsize=8.5, color=INK)
    bars.set_xlim(0, max(means) * 1.18 or 1)
    bars.set_yticks(places, shown, fontsize=9.5, color=INK)
    bars.set_ylim(-0.6, len(shown) - 0.4)
    bars.set_title("Mean effect, percentage points", fontsize=10, color=INK, loc="left")
    for place, name in zip(places, shown, strict=True):
        _dots(dots, explanation, name, float(place))
    dots.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    dots.set_title("Effect on each row, percentage points", fontsize=10, color=INK, loc="left")
    _colour_key(figure, dots)
    note = f"{explanation.outcome} - {len(explanation.row_ids)} rows, base {explanation.base:.1%}"
    if rest := len(ranked) - len(shown):
        note += f", {rest} weaker columns not shown"
    headline(figure, "What moves the probability", note)
    for axes in (bars, dots):
        _clean(axes)
    return saved(figure, path)


def waterfall(explanation: Explanation, index: int, path: Path) -> Path:
    """How one row's answer came about: from the base, column by column, to its probability.

    Args:
        index: which of the explained rows.

    Raises:
        UsageError: there is no such row.
        HomeUnwritable: the PNG cannot be written.
    """
    if not 0 <= index < len(explanation.row_ids):
        raise UsageError(f"there is no explained row {index}: there are {len(explanation.row_ids)}, counted from 0")
    labels, effects = _steps(explanation, index)
    places = np.arange(len(labels))[::-1]
    ends = explanation.base + np.cumsum(effects)
    figure = figure_of(8.2, 1.7 + 0.36 * len(labels))
    axes = figure.subplots()
    for place, end, effect in zip(places, ends, effects, strict=True):
        axes.barh(
            place, 100 * effect, left=100 * (end - effect), color=UP if effect >= 0 else DOWN, height=0.62, zorder=3
        )
        right = 100 * max(end, end - effect)
        axes.text(right, place, f" {100 * effect:+.1f}", va="center", ha="left", fontsize=8.5, color=INK, zorder=4)
        if place > 0:
            axes.plot([100 * end] * 2, [place - 1 + 0.31, place + 0.31], color=FAINT, linewidth=0.7, zorder=2)
    axes.axvline(100 * explanation.base, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_yticks(places, labels, fontsize=9.5, color=INK)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    span = 100 * np.array([explanation.base, *ends, *(ends - effects)])
    axes.set_xlim(span.min() - 0.04 * np.ptp(span) - 0.2, span.max() + 0.12 * np.ptp(span) + 0.2)
    axes.set_xlabel("Probability, %", fontsize=9.5, color=INK)
    answer = explanation.probability[index]
    note = f"{explanation.outcome} - row {explanation.row_ids[index]}, base {explanation.base:.1%}"
    headline(figure, f"Why the probability is {answer:.1%}", note)
    _clean(axes)
    return saved(figure, path)


def _steps(explanation: Explanation, index: int) -> tuple[list[str], NDArray[np.float64]]:
    values = explanation.values[index]
    order = np.argsort(-np.abs(values), kind="stable")
    top, rest = order[:SHOWN], order[SHOWN:]
    labels = [f"{explanation.columns[i]} = {_shown(explanation.rows.iloc[index, int(i)])}" for i in top]
    effects = list(values[top])
    if len(rest):
        labels.append(f"{len(rest)} other columns")
        effects.append(float(values[rest].sum()))
    return labels, np.array(effects)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value[:24] or "(none)"
    number = float(value)  # type: ignore[arg-type]
    return "missing" if np.isnan(number) else f"{number:g}"


def _dots(axes: Any, explanation: Explanation, name: str, place: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    effect = 100 * explanation.values[:, explanation.columns.index(name)]
    column = explanation.rows[name]
    height = place + _spread(effect)
    if column.dtype == object:
        axes.scatter(effect, height, s=11, color=FAINT, alpha=0.75, linewidths=0, zorder=3)
        return
    rank = column.rank(pct=True).to_numpy()
    known = ~np.isnan(rank)
    colours = LinearSegmentedColormap.from_list("low_to_high", list(LOW_TO_HIGH))
    axes.scatter(
        effect[known], height[known], s=11, c=rank[known], cmap=colours, vmin=0, vmax=1, linewidths=0, zorder=3
    )
    axes.scatter(effect[~known], height[~known], s=11, facecolors="none", edgecolors=FAINT, linewidths=0.7, zorder=3)


def _spread(effect: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offsets within a line that keep dots of like effect apart: where it is crowded, the line is thicker."""
    width = float(np.ptp(effect)) or 1.0
    bins = np.round(60 * (effect - effect.min()) / width).astype(int)
    offset = np.zeros(len(effect))
    for group in np.unique(bins):
        members = np.flatnonzero(bins == group)
        steps = (np.arange(len(members)) + 1) // 2 * np.where(np.arange(len(members)) % 2, 1, -1)
        offset[members] = steps * min(0.07, 0.62 / max(len(members), 1))
    return offset


def _colour_key(figure: Any, axes: Any) -> None:
    from matplotlib.lines import Line2D

    def dot(label: str, colour: str, filled: bool = True) -> Any:
        face = colour if filled else "none"
        return Line2D([], [], linestyle="", marker="o", markersize=4.5, color=colour, markerfacecolor=face, label=label)

    keys = [
        dot("low value", LOW_TO_HIGH[0]),
        dot("high", LOW_TO_HIGH[2]),
        dot("category", FAINT),
        dot("missing", FAINT, False),
    ]
    figure.legend(
        handles=keys, loc="outside lower right", ncols=4, frameon=False, fontsize=8.5, labelcolor=INK, handletextpad=0.1
    )


def figure_of(width: float, height: float) -> Any:
    """An empty white figure of that many inches, which lays out itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")


def headline(figure: Any, title: str, note: str, *, make_room: bool = True) -> None:
    """A title and a fainter note at the top; the axes make room, where the figure lays out itself."""
    height = figure.get_figheight()
    if make_room:
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - HEAD_INCHES / height))
    figure.text(0.012, 1 - 0.10 / height, title, ha="left", va="top", fontsize=13, color=INK, fontweight="bold")
    figure.text(0.012, 1 - 0.37 / height, note, ha="left", va="top", fontsize=9.5, color=FAINT)


def _clean(axes: Any) -> None:
    axes.grid(axis="x", color=LINE, linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=8.5)
    for side in axes.spines.values():
        side.set_visible(False)


def saved(figure: Any, path: Path) -> Path:
    """Write the figure as a PNG. Raises HomeUnwritable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        without_formulas(figure)
        figure.savefig(path, format="png")
    except OSError as error:
        raise home_unwritable(path.parent, error) from error
    return path
