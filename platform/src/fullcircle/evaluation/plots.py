"""Pictures of evaluations: the reliability curve and the comparison of models. PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fullcircle.core.security.untrusted import without_formulas

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fullcircle.core.records.verdicts import Evaluation
    from fullcircle.core.tasks import Task

# Okabe & Ito 2008: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444")
INK, GRID = "#333333", "#e3e3e3"


def reliability_plot(evaluations: Mapping[str, Evaluation], path: Path) -> Path:
    """Observed share against predicted probability, one line a model, in 10 bins of equal count.

    Args:
        evaluations: label -> evaluation.
    """
    figure = _figure(6.4, 5.2)
    axes = figure.subplots()
    most = 0.0
    for colour, (label, evaluation) in zip(_cycle(len(evaluations)), evaluations.items(), strict=True):
        predicted, observed = (
            [b[0] for b in evaluation.curves["reliability"]],
            [b[1] for b in evaluation.curves["reliability"]],
        )
        most = max(most, *predicted, *observed)
        error = evaluation.metrics["calibration_error"].value
        axes.plot(predicted, observed, "o-", color=colour, lw=1.8, ms=5, label=f"{label} (error {error:.3f})")
    limit = min(1.0, most * 1.08 + 0.02)
    axes.plot([0, limit], [0, limit], ls=(0, (4, 3)), color="#888888", lw=1.2, label="perfectly calibrated", zorder=1)
    axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="predicted probability", ylabel="observed share")
    axes.set_title("Reliability on the test rows", loc="left", fontsize=12, color=INK, pad=10)
    _finish(axes)
    axes.grid(color=GRID, lw=0.8)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return _save(figure, path)


PLOTS = {"reliability": reliability_plot}
"""Pictures of evaluations, by the name that a task gives each: `(evaluations by label, path)` -> path."""


def comparison_plot(task: Task, evaluations: Mapping[str, Evaluation], path: Path) -> Path:
    """Each headline metric of each model with its 95% interval, one panel a metric.

    Args:
        evaluations: label -> evaluation.
    """
    labels = list(evaluations)
    figure = _figure(9.6, 1.3 + 0.42 * 2 * max(len(labels), 2))
    shown = [task.metrics[name] for name in task.headline]
    panels = figure.subplots(-(-len(shown) // 2), 2, sharey=True).ravel()
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes, metric in zip(panels, shown, strict=False):
        for row, colour in enumerate(_cycle(len(labels))):
            found = evaluations[labels[row]].metrics.get(metric.name)
            if found is None:
                continue
            axes.plot([found.low, found.high], [row, row], color=colour, lw=2.4, solid_capstyle="round", alpha=0.55)
            axes.plot([found.value], [row], "o", color=colour, ms=7)
            axes.annotate(f"{found.value:.4f}", (found.value, row), (0, 7), textcoords="offset points",
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
        _finish(axes)
        axes.grid(axis="x", color=GRID, lw=0.8)
    return _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    # No pyplot: its global state is not safe in threads, and flows run in some.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _finish(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bbbbbb")
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.set_axisbelow(True)


def _cycle(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    without_formulas(figure)
    figure.savefig(path, dpi=130)
    return path
