"""SHAP plots: which columns matter (summary), and why one row got its answer (waterfall)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import UsageError
from fullcircle.core.security.untrusted import figure_text, without_formulas
from fullcircle.core.settings import home_unwritable
from fullcircle.core.tasks.answer_format import with_unit
from fullcircle.explain.shap_values import Explanation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fullcircle.core.tasks.answer_format import AnswerFormat

SHOWN = 14
"""Columns with a bar of their own; the others share the last one."""

NAME, PART, OUTCOME = 40, 32, 80
"""Characters of a column's name or a row's id, of a class's and of an outcome's that are drawn."""

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
    form, count = explanation.explained.task.answer_format, explanation.explained.count
    shown = min(len(ranked), SHOWN)
    figure = figure_of(9.6, 1.7 + 0.36 * shown)
    bars, dots = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.7))
    _mean_effects(bars, form, ranked[:SHOWN])
    bars.set_ylim(-0.6, shown - 0.4)
    for place, (name, _) in enumerate(reversed(ranked[:SHOWN])):
        _dots(dots, explanation, name, float(place))
    dots.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    on_each = f"Effect on each row's likeliest {form.part}" if count else "Effect on each row"
    dots.set_title(with_unit(on_each, figure_text(form.step, PART)), fontsize=10, color=INK, loc="left")
    _colour_key(figure, dots)
    note = f"{_outcome(explanation)} - {len(explanation.row_ids)} rows, "
    note += count or f"base {figure_text(form.value(float(explanation.base)), NAME)}"
    if rest := len(ranked) - shown:
        note += f", {rest} weaker columns not shown"
    headline(figure, f"What moves {form.subject}", note)
    for axes in (bars, dots):
        _clean(axes, form)
    return saved(figure, path)


def _mean_effects(axes: Any, form: AnswerFormat, ranked: Sequence[tuple[str, float]]) -> None:
    """A bar for each column, the strongest at the top."""
    places, means = np.arange(len(ranked))[::-1], [form.factor * value for _, value in ranked]
    axes.barh(places, means, color=BAR, height=0.62)
    for place, mean, (_, value) in zip(places, means, ranked, strict=True):
        size = form.amount(value, ranked[0][1])
        axes.text(mean, place, f" {size}", va="center", ha="left", fontsize=8.5, color=INK)
    axes.set_xlim(0, max(means) * 1.18 or 1)
    axes.set_yticks(places, [figure_text(name, NAME) for name, _ in ranked], fontsize=9.5, color=INK)
    # The panel is narrow, and there is more to say where an answer has parts.
    title = with_unit(f"Mean effect, all {form.parts}" if form.parts else "Mean effect",
                      figure_text(form.short_step if form.parts else form.step, PART))  # fmt: skip
    axes.set_title(title, fontsize=10, color=INK, loc="left")


def waterfall(explanation: Explanation, index: int, path: Path) -> Path:
    """How one row's answer came about: from the base, column by column, to the answer that it was given.

    Args:
        index: which of the explained rows.

    Raises:
        UsageError: there is no such row.
        HomeUnwritable: the PNG cannot be written.
    """
    if not 0 <= index < len(explanation.row_ids):
        raise UsageError(f"there is no explained row {index}: there are {len(explanation.row_ids)}, counted from 0")
    form = explanation.explained.task.answer_format
    base, answer = float(explanation.given_base[index]), float(explanation.given_answers[index])
    labels, effects = _steps(explanation, index)
    figure = figure_of(8.2, 1.7 + 0.36 * len(labels))
    axes = figure.subplots()
    _draw_steps(axes, form, base, effects)
    axes.set_yticks(np.arange(len(labels))[::-1], labels, fontsize=9.5, color=INK)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    part = explanation.explained.parts[int(explanation.given[index])]
    quantity = f"{form.quantity} of {figure_text(part, PART)}" if part else form.quantity
    title = with_unit(quantity[0].upper() + quantity[1:], figure_text(form.unit, PART))
    axes.set_xlabel(title, fontsize=9.5, color=INK)
    row = figure_text(explanation.row_ids[index], NAME)
    note = f"{_outcome(explanation)} - row {row}, base {figure_text(form.value(base), NAME)}"
    headline(figure, f"Why the {quantity} is {figure_text(form.value(answer), NAME)}", note)
    _clean(axes, form)
    return saved(figure, path)


def _draw_steps(axes: Any, form: AnswerFormat, base: float, effects: NDArray[np.float64]) -> None:
    """A bar for each effect, from where the one above it ends."""
    places, ends = np.arange(len(effects))[::-1], base + np.cumsum(effects)
    factor, largest = form.factor, float(np.abs(effects).max())
    for place, end, effect in zip(places, ends, effects, strict=True):
        axes.barh(
            place,
            factor * effect,
            left=factor * (end - effect),
            color=UP if effect >= 0 else DOWN,
            height=0.62,
            zorder=3,
        )
        right, size = factor * max(end, end - effect), form.effect(effect, largest)
        axes.text(right, place, f" {size}", va="center", ha="left", fontsize=8.5, color=INK, zorder=4)
        if place > 0:
            axes.plot([factor * end] * 2, [place - 1 + 0.31, place + 0.31], color=FAINT, linewidth=0.7, zorder=2)
    axes.axvline(factor * base, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    span = factor * np.array([base, *ends, *(ends - effects)])
    # Where nothing moves anything, an axis still has some length.
    room = 0.2 if form.is_share or not span.any() else 1e-3 * float(np.abs(span).max())
    axes.set_xlim(span.min() - 0.04 * np.ptp(span) - room, span.max() + 0.12 * np.ptp(span) + room)


def _outcome(explanation: Explanation) -> str:
    return figure_text(explanation.explained.task.outcome, OUTCOME)


def _steps(explanation: Explanation, index: int) -> tuple[list[str], NDArray[np.float64]]:
    values = explanation.given_values[index]
    order = np.argsort(-np.abs(values), kind="stable")
    top, rest = order[:SHOWN], order[SHOWN:]
    names = [figure_text(explanation.columns[i], NAME) for i in top]
    labels = [f"{name} = {_shown(explanation.rows.iloc[index, int(i)])}" for name, i in zip(names, top, strict=True)]
    effects = list(values[top])
    if len(rest):
        labels.append(f"{len(rest)} other columns")
        effects.append(float(values[rest].sum()))
    return labels, np.array(effects)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return figure_text(value[:24], 24) or "(none)"
    number = float(value)  # type: ignore[arg-type]
    return "missing" if np.isnan(number) else f"{number:g}"


def _dots(axes: Any, explanation: Explanation, name: str, place: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    factor = explanation.explained.task.answer_format.factor
    effect = factor * explanation.given_values[:, explanation.columns.index(name)]
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


def _clean(axes: Any, form: AnswerFormat) -> None:
    if not form.is_share:
        # Numbers of any size, which must not run into each other.
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,.7g}")
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
