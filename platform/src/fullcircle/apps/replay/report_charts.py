"""The report's charts: values in, one inline SVG out, which follows the page's light or dark colours.

matplotlib draws with stand-in colours; each is then replaced by a CSS variable, so one drawing serves both themes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fullcircle.core.security.untrusted import visible, without_formulas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#010101", "#020202", "#030303"
CIRCLE, FROZEN, DRIFT = "#040404", "#050505", "#060606"
SERIES = (CIRCLE, DRIFT, FROZEN, "#070707")
VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--line", CIRCLE: "--circle", FROZEN: "--frozen", DRIFT: "--drift",
    SERIES[3]: "--fourth",
}  # fmt: skip
Curve = Sequence[tuple[float, float, int]]
"""A reliability curve: (mean predicted probability, observed share, rows) of each bin, as in `Evaluation`."""
TOP_COLUMNS = 12
LONGEST_NAME = 26
FULL_COLOUR_RATIO = 8.0
"""A distance of so many times its threshold, and all beyond, gets the full colour: the scale is logarithmic."""


def metric_chart(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """The primary metric over the months: never retrained, the champion with its 95% interval, retrains marked."""
    months = [str(row["month"]) for row in rows]
    figure, axes = _figure(5.6, 2.9)
    places = list(range(len(rows)))
    low = [_number(row.get("auc_champion_low")) for row in rows]
    high = [_number(row.get("auc_champion_high")) for row in rows]
    axes.fill_between(places, low, high, color=CIRCLE, alpha=0.15, linewidth=0)
    for key, colour, label in (("auc_frozen", FROZEN, "never retrained"), ("auc_champion", CIRCLE, "the circle")):
        values = [_number(row.get(key)) for row in rows]
        axes.plot(places, values, color=colour, linewidth=2.2, marker="o", markersize=4.5, label=label)
    for promoted, style, label in (
        (True, "solid", "retrained, released"),
        (False, (0, (2, 3)), "retrained, not released"),
    ):
        marks = [
            p + 0.5 for p, row in enumerate(rows) if row.get("retrained") and bool(row.get("promoted")) == promoted
        ]
        for number, place in enumerate(marks):
            axes.axvline(place, color=CIRCLE, linewidth=1.3, linestyle=style, label=None if number else label)
    axes.set_xlim(-0.4, len(rows) - 0.2)
    axes.set_ylabel(_plain(title), color=MUTED)
    _months(axes, months)
    _legend(axes)
    return _svg(figure, "auc")


def drift_chart(rows: Sequence[Mapping[str, Any]], level: str) -> str:
    """Share of drifted columns of each month, as bars, with the share of positives as a line.

    Args:
        level: what the line is; without a share in any month there is none.
    """
    figure, axes = _figure(5.6, 2.9)
    places = list(range(len(rows)))
    shares = [
        100 * (_number(row.get("drifted_share")) if row.get("drifted_share") is not None else 0.0) for row in rows
    ]
    axes.bar(places, shares, width=0.56, color=DRIFT, alpha=0.8, label="drifted columns")
    late = [100 * _number(row.get("late_share")) for row in rows]
    if any(row.get("late_share") is not None for row in rows) or all(row.get("level") is None for row in rows):
        axes.plot(places, late, color=INK, linewidth=1.8, marker="o", markersize=4, label=_plain(level))
    axes.set_ylim(0, 108)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylabel("share, %", color=MUTED)
    _months(axes, [str(row["month"]) for row in rows])
    _legend(axes)
    return _svg(figure, "drift")


def heat_map(drift: Mapping[str, Mapping[str, float]]) -> str:
    """The columns that drifted most, by month: distance over its threshold; from 1 on a column counts as drifted."""
    import math

    months = sorted(drift)
    worst: dict[str, float] = {}
    for ratios in drift.values():
        for column, ratio in ratios.items():
            worst[column] = max(worst.get(column, 0.0), ratio)
    columns = sorted(worst, key=lambda name: (-worst[name], name))[:TOP_COLUMNS]
    figure, axes = _figure(5.6, 0.5 + 0.27 * max(len(columns), 1))
    from matplotlib.patches import Rectangle

    for y, column in enumerate(columns):
        for x, month in enumerate(months):
            ratio = drift[month].get(column, float("nan"))
            if not math.isfinite(ratio):
                continue
            strength = min(1.0, math.log1p(max(ratio, 0.0)) / math.log1p(FULL_COLOUR_RATIO))
            corner = (x - 0.47, y - 0.44)
            axes.add_patch(Rectangle(corner, 0.94, 0.88, facecolor=DRIFT, alpha=0.06 + 0.74 * strength, linewidth=0))
            weight = "bold" if ratio > 1.0 else "normal"
            text = f"{ratio:.1f}" if ratio < 100 else ">99"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=INK, weight=weight)
    axes.set_ylim(len(columns) - 0.4, -0.6)
    axes.set_xlim(-0.55, max(len(months), 1) - 0.45)
    axes.set_yticks(range(len(columns)), [_plain(column) for column in columns], color=INK)
    _months(axes, months)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    return _svg(figure, "heat")


def reliability_chart(curves: Sequence[tuple[str, Curve]]) -> str:
    """Observed share over predicted probability of each curve's bins; the diagonal is perfect calibration."""
    figure, axes = _figure(5.6, 3.4)
    points = [point for _, bins in curves for point in bins]
    top = min(1.0, 1.08 * max([0.1, *(max(point[0], point[1]) for point in points)]))
    axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for number, (label, bins) in enumerate(curves):
        colour = SERIES[number % len(SERIES)]
        mean, observed = [point[0] for point in bins], [point[1] for point in bins]
        axes.plot(mean, observed, color=colour, linewidth=2, marker="o", markersize=4.5, label=_plain(label))
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("predicted probability", color=MUTED)
    axes.set_ylabel("observed share", color=MUTED)
    if curves:
        axes.legend(loc="upper left", frameon=False, labelcolor=INK)
    return _svg(figure, "reliability")


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, labelcolor=INK, ncols=2, fontsize=8.5, borderpad=0
    )


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0, labelsize=8.5)
    return figure, axes


def _months(axes: Axes, months: Sequence[str]) -> None:
    # At most some sixteen labels, whatever the number of months.
    step = max(1, -(-len(months) // 16))
    shown = months[::step]
    # A month's name is enough where the year is that of the label before it: 2012-11, -12, 2013-01, -02.
    names = [
        name if place == 0 or len(name) == 4 or name[:4] != shown[place - 1][:4] else name[4:]
        for place, name in enumerate(shown)
    ]
    axes.set_xticks(range(0, len(months), step), [_plain(name) for name in names])


def _plain(text: str) -> str:
    """Without hidden characters, and no name that pushes the drawing off its page."""
    text = visible(text)
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element alone. Ids get a prefix, since several drawings share one page, and it has no
    style of its own, which the page's policy would not obey.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        FigureCanvasSVG(figure)  # becomes the figure's canvas
        without_formulas(figure)
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    # In tags alone: a column may have the name of a colour.
    text = re.sub(r"<[^<>]+>", lambda tag: _ours(tag[0], name), text)
    # What the style that was taken out said of all elements.
    inherited = 'role="img" stroke-linejoin="round" stroke-linecap="butt"'
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', rf"<svg {inherited} \1", text, count=1).replace(
        'height="', 'data-height="', 1
    )


def _ours(tag: str, name: str) -> str:
    """A tag with the page's colours and font, its ids prefixed, and attributes instead of a style."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", tag)
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    return re.sub(r'\bstyle="([^"]*)"', lambda found: _attributes(found[1]), tag)


def _attributes(style: str) -> str:
    """A style's declarations as SVG's presentation attributes; the font is the page's."""
    style = re.sub(r"\bfont: (?:(\w+) )?([\d.]+px)[^;]*", r"font-weight: \1; font-size: \2", style)
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    known = ((key.strip(), value.strip()) for key, value in pairs if key.strip() != "font-family")
    return " ".join(f'{key}="{value}"' for key, value in known if value)
