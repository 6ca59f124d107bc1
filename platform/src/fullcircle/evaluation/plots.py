"""The comparison of models in a picture, and what all pictures of evaluations share. PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fullcircle.core.security.untrusted import without_formulas
from fullcircle.core.statistics.interval import in_digits

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fullcircle.core.records.verdicts import Evaluation
    from fullcircle.core.tasks import Task

# Okabe & Ito 2008: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444")
INK, GRID = "#333333", "#e3e3e3"


def comparison_plot(task: Task, evaluations: Mapping[str, Evaluation], path: Path) -> Path:
    """Each headline metric of each model with its 95% interval, one panel a metric.

    Args:
        evaluations: label -> evaluation.
    """
    labels = list(evaluations)
    figure = figure_of(9.6, 1.3 + 0.42 * 2 * max(len(labels), 2))
    shown = [task.metrics[name] for name in task.headline]
    panels = figure.subplots(-(-len(shown) // 2), 2, sharey=True).ravel()
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes, metric in zip(panels, shown, strict=False):
        for row, colour in enumerate(cycle(len(labels))):
            found = evaluations[labels[row]].metrics.get(metric.name)
            if found is None:
                continue
            axes.plot([found.low, found.high], [row, row], color=colour, lw=2.4, solid_capstyle="round", alpha=0.55)
            axes.plot([found.value], [row], "o", color=colour, ms=7)
            axes.annotate(in_digits(found.value, found.largest), (found.value, row), (0, 7), textcoords="offset points",
                          ha="center", fontsize=8, color=INK)  # fmt: skip
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.6)
        axes.margins(x=0.12)
        axes.set_title(
            f"{metric.title}  ({'right' if metric.greater_is_better else 'left'} is better)",
            loc="left",
            fontsize=10,
            color=INK,
        )
        finish(axes)
        axes.grid(axis="x", color=GRID, lw=0.8)
    return saved(figure, path)


def figure_of(width: float, height: float) -> Figure:
    """An empty white figure of that many inches, which lays out itself."""
    # No pyplot: its global state is not safe in threads, and flows run in some.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def finish(axes: Axes) -> None:
    """Axes in the house's colours, with no frame at the top and right."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bbbbbb")
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.set_axisbelow(True)


def cycle(count: int) -> list[str]:
    """So many colours, one a model."""
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def saved(figure: Figure, path: Path) -> Path:
    """Write the figure as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    without_formulas(figure)
    figure.savefig(path, dpi=130)
    return path
