"""Heat maps of explained images: each in grey, and beside it what moved its answer, in a diverging colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.security.untrusted import figure_text
from fullcircle.core.tasks.answer_format import rounded, with_unit
from fullcircle.explain.image_values import ImageExplanation
from fullcircle.explain.plots import (
    DOWN,
    FAINT,
    HEAD_INCHES,
    INK,
    LINE,
    OUTCOME,
    PART,
    UP,
    figure_of,
    headline,
    saved,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.answer_format import AnswerFormat

ACROSS = 4
"""Images in a line of the picture."""

QUANTILE = 0.995
"""Share of the effects that the colours tell apart; a few stronger ones look like the strongest."""

SIDE, BETWEEN, AROUND = 1.3, 0.06, 0.24
"""Inches: the longer side of an image, between it and its attributions, and around the two."""

OUTLINE = 0.5
"""Grey level of the outline that is drawn over the attributions, in the column's range from 0 to 1."""

TITLE, CAPTION, KEY = 0.26, 0.22, 0.78
"""Inches: above and below an image, and for the colours' key."""

WORD = 10
"""Characters of a class that stand above an image."""


def heat_maps(explanation: ImageExplanation, path: Path) -> Path:
    """Each explained image in grey, with its attributions beside it: the highest answer on the task's scale first.

    Raises:
        HomeUnwritable: the PNG cannot be written.
    """
    count = len(explanation.images)
    lines, across = -(-count // ACROSS), min(ACROSS, count)
    down, wide = _size(explanation)
    block = (2 * wide + BETWEEN + AROUND, TITLE + down + CAPTION + AROUND / 2)
    figure = figure_of(max(AROUND + across * block[0], 5.6), HEAD_INCHES + 0.1 + lines * block[1] + KEY)
    figure.set_layout_engine("none")
    form = explanation.explained.task.answer_format
    heat = form.factor * explanation.heat()
    strongest = float(np.quantile(np.abs(heat), QUANTILE)) or 1.0
    for index in range(count):
        left = AROUND + index % ACROSS * block[0]
        top = HEAD_INCHES + 0.1 + index // ACROSS * block[1] + TITLE
        axes = [_axes(figure, left + shift, top, wide, down) for shift in (0.0, wide + BETWEEN)]
        drawn = _draw(axes, explanation, index, heat[index], strongest)
    _key(figure, drawn, form, strongest)
    headline(figure, "Where the model looks", _note(explanation), make_room=False)
    return saved(figure, path)


def _note(explanation: ImageExplanation) -> str:
    task, right = explanation.explained.task, explanation.right
    known = [] if task.answer_format.part else [f"base {task.answer_format.brief(float(explanation.base[0]))}"]
    if right is not None:
        known.append(f"{int(right.sum())} of {len(right)} right")
    first, middle, last = task.extremes
    order = f"{first} first, {middle} in the middle, {last} last"
    return f"{figure_text(task.outcome, OUTCOME)} - {', '.join(known)}; {order}"


def _size(explanation: ImageExplanation) -> tuple[float, float]:
    """Height and width of an image in inches."""
    height, width, _ = explanation.column.shape
    return SIDE * height / max(height, width), SIDE * width / max(height, width)


def _axes(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Axes at a place in inches from the upper left corner."""
    whole_width, whole_height = figure.get_size_inches()
    place = (left / whole_width, 1 - (top + height) / whole_height, width / whole_width, height / whole_height)
    axes = figure.add_axes(place)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(LINE)
        side.set_linewidth(0.8)
    return axes


def _draw(
    axes: list[Any], explanation: ImageExplanation, index: int, heat: NDArray[np.float64], strongest: float
) -> Any:
    picture, effects = axes
    grey = _grey(explanation, index)
    picture.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    colours = {"cmap": _diverging(), "vmin": -strongest, "vmax": strongest}
    drawn = effects.imshow(heat, interpolation="nearest", aspect="auto", **colours)
    if grey.min() < OUTLINE < grey.max():
        # What is in the picture, or nobody can tell where in it the colours are.
        effects.contour(grey, levels=[OUTLINE], colors=[INK], linewidths=0.8, alpha=0.5)
    wrong = explanation.right is not None and not explanation.right[index]
    picture.set_title(_title(explanation, index), fontsize=9.5, color=UP if wrong else INK, loc="left", pad=4)
    picture.set_xlabel(figure_text(explanation.row_ids[index][:18], 18), fontsize=8, color=FAINT, labelpad=3)
    effects.set_xlabel(_moved(explanation, index), fontsize=8, color=FAINT, labelpad=3)
    return drawn


def _grey(explanation: ImageExplanation, index: int) -> NDArray[np.float64]:
    """One image from 0 to 1 over its column's range, channels averaged. Shape: (height, width)."""
    column = explanation.column
    mean = explanation.images[index].astype(np.float64).mean(axis=2)
    return np.asarray(np.clip((mean - column.low) / (column.high - column.low), 0, 1), dtype=np.float64)


def _title(explanation: ImageExplanation, index: int) -> str:
    """What was answered, and what is true: `answer 7 (98%), label 7`."""
    task, answer = explanation.explained.task, float(explanation.answers[index])
    label, part = figure_text(task.shown(explanation.labels[index]), WORD), explanation.parts[index]
    if part:
        return f"{task.answer_format.lead} {figure_text(part, WORD)} ({_percent(answer, 0)}), label {label}"
    if task.answer_format.is_share:
        return f"answer {_percent(answer, 1)}, label {label}"
    return f"answer {rounded(answer)}, label {label}"


def _moved(explanation: ImageExplanation, index: int) -> str:
    """How far all patches together moved the answer: `in all +12 points`."""
    form = explanation.explained.task.answer_format
    size = form.brief_effect(float(explanation.answers[index] - explanation.base[index]))
    return f"in all {size} {figure_text(form.short_step, WORD)}".rstrip()


def _percent(probability: float, decimals: int) -> str:
    """A probability that never claims to be certain."""
    if probability > 0.999:
        return "over 99.9%"
    return "under 0.1%" if probability < 0.001 else f"{probability:.{decimals}%}"


def _diverging() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("against_to_for", [DOWN, "#ffffff", UP])


def _key(figure: Any, drawn: Any, form: AnswerFormat, strongest: float) -> None:
    """The colours' key, at the lower edge."""
    height = figure.get_figheight()
    axes = _axes(figure, AROUND, height - 0.38, 2.6, 0.11)
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal", ticks=[-strongest, 0, strongest])
    end = f"{strongest:.0f}" if form.is_share else rounded(strongest)
    bar.ax.set_xticklabels([f"-{end}", "0", f"+{end}"], fontsize=8, color=INK)
    of = f"the probability of the likeliest {form.part}" if form.part else form.subject
    title = with_unit(f"Effect of a pixel or patch on {of}", figure_text(form.step, PART))
    bar.ax.set_title(title, fontsize=8.5, color=INK, pad=4, loc="left")
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
