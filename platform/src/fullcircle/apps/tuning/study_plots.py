"""Plots of a study, as PNG files.

Drawn here and not by Optuna: docs/adr/0102-our-own-pictures.md has the comparison.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullcircle.apps.tuning.study import Trial, TrialStatus, best
from fullcircle.core.project.search_space import Choice, Integer, LogUniform, Range, Search
from fullcircle.core.security.untrusted import without_formulas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, INK, GRID = "#0072B2", "#D55E00", "#9a9a9a", "#333333", "#e3e3e3"
"""Okabe & Ito 2008: told apart by colour-blind readers too."""
HOLLOW = {"facecolors": "none", "edgecolors": GREY}


def pictures(
    trials: Sequence[Trial], search: Search, importance: Mapping[str, float], folder: Path, value: str
) -> list[Path]:
    """Draw what the trials can fill; nothing before the first of them is done, no importance while it is not known.

    Args:
        value: what a trial's value is, for the axes.
    """
    done = [trial for trial in trials if trial.state is TrialStatus.DONE]
    if not done:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    found = [
        _saved(_history(trials, value), folder / "history.png"),
        _saved(_slices(trials, search, value), folder / "slices.png"),
        _saved(_parallel(done, search, value), folder / "parallel.png"),
    ]
    if any(trial.curve for trial in trials):
        found.append(_saved(_curves(trials, value), folder / "epochs.png"))
    if importance:
        found.append(_saved(_importance(importance), folder / "importance.png"))
    return found


def _history(trials: Sequence[Trial], value: str) -> Figure:
    """Each trial's value, and the best so far."""
    figure, axes = _one(7.2, 4.2)
    _scatter(axes, trials, lambda trial: trial.number)
    tops = (best(trials[:end]) for end in range(1, len(trials) + 1))
    steps = [top[0].value or 0.0 if top else math.nan for top in tops]
    axes.step([trial.number for trial in trials], steps, where="post", color=ORANGE, lw=1.6, label="best so far")
    axes.set(xlabel="trial", ylabel=value)
    _whole(axes)
    _finish(axes, "What the trials were worth")
    axes.legend(frameon=False, fontsize=9)
    return figure


def _curves(trials: Sequence[Trial], value: str) -> Figure:
    """Each trial's value after each of its epochs."""
    figure, axes = _one(7.2, 4.2)
    top = next(iter(best(trials)), None)
    labels = {TrialStatus.PRUNED: "pruned", TrialStatus.DONE: "done"}
    for trial in (each for each in trials if each.curve):
        style = {"ls": "--", "marker": "x"} if trial.state is TrialStatus.PRUNED else {"ls": "-", "marker": "."}
        epochs = range(1, len(trial.curve) + 1)
        label = labels.pop(trial.state, None)
        axes.plot(epochs, trial.curve, color=GREY, lw=1, ms=4, alpha=0.7, label=label, **style)  # type: ignore[arg-type]
    if top is not None and top.curve:
        axes.plot(
            range(1, len(top.curve) + 1), top.curve, ".-", color=ORANGE, lw=2, label=f"the best: trial {top.number}"
        )
    axes.set(xlabel="epoch", ylabel=value, ylim=_limits(trials, top.curve if top is not None else ()))
    _whole(axes)
    _finish(axes, "What a trial was worth after each epoch")
    axes.legend(frameon=False, fontsize=9, loc="lower right" if trials[0].greater_is_better else "upper right")
    return figure


def _slices(trials: Sequence[Trial], search: Search, value: str) -> Figure:
    """The value against each parameter."""
    columns = min(3, len(search))
    rows = math.ceil(len(search) / columns)
    figure = _figure(0.6 + 3.3 * columns, 0.5 + 3.0 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, (name, each) in zip(panels, search.items(), strict=False):
        _scatter(axes, trials, lambda trial, name=name, each=each: _place(each, trial.parameters[name]))  # type: ignore[misc]
        places, labels = _ticks(each)
        axes.set_xticks(places, labels, rotation=20 if isinstance(each, Choice) else 0)
        axes.set_xlabel(_short(name))
        _finish(axes, "")
    for axes in panels[len(search) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(value)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _parallel(done: Sequence[Trial], search: Search, value: str) -> Figure:
    """A line a trial through its parameters to its value; the best ones are coloured."""
    figure, axes = _one(1.6 * (len(search) + 1) + 1.4, 4.4)
    worth = [trial.value or 0.0 for trial in done]
    low, high = min(worth), max(worth)
    span = high - low or 1.0
    top = {trial.number for trial in best(done, math.ceil(len(done) / 10))}
    for trial in sorted(done, key=lambda trial: trial.gain):
        heights = [_share(each, trial.parameters[name]) for name, each in search.items()]
        coloured = trial.number in top
        axes.plot(
            range(len(search) + 1),
            [*heights, ((trial.value or 0.0) - low) / span],
            color=ORANGE if coloured else GREY,
            lw=1.8 if coloured else 0.8,
            alpha=1.0 if coloured else 0.6,
        )
    for at, each in enumerate(search.values()):
        for place, label in zip(*_ticks(each), strict=True):
            _mark(axes, at, _height(each, place), label)
    for share, label in ((0.0, f"{low:.4f}"), (1.0, f"{high:.4f}")):
        _mark(axes, len(search), share, label)
    axes.set_xticks(range(len(search) + 1), [*map(_short, search), value])
    axes.set_yticks([])
    axes.set_xlim(-0.4, len(search) + 0.4)
    _finish(axes, "Which parameters led where; in colour: the best tenth")
    axes.grid(visible=True, axis="x", color=INK, lw=0.8)
    return figure


def _importance(importance: Mapping[str, float]) -> Figure:
    """Each parameter's share in what makes trials good."""
    figure, axes = _one(6.4, 0.9 + 0.45 * len(importance))
    names = list(importance)[::-1]
    axes.barh([_short(name) for name in names], [importance[name] for name in names], color=BLUE, height=0.6)
    for row, name in enumerate(names):
        axes.text(importance[name] + 0.01, row, f"{importance[name]:.0%}", va="center", fontsize=9, color=INK)
    axes.set(xlim=(0, 1.1), xlabel="share (PED-ANOVA)")
    _finish(axes, "What matters for the value")
    return figure


def _scatter(axes: Axes, trials: Sequence[Trial], where: Callable[[Trial], float]) -> None:
    """A point a trial; one that is worth far less than any that is done stands at the bottom, as an arrow."""
    low, high = _limits(trials)
    axes.set_ylim(low, high)
    groups: dict[str, tuple[dict[str, Any], list[Trial]]] = {
        "done": ({"color": BLUE}, [each for each in trials if each.state is TrialStatus.DONE]),
        "pruned": (HOLLOW, [each for each in trials if each.pruned and (each.value or 0.0) >= low]),
        "pruned, far below": (
            {**HOLLOW, "marker": "v", "clip_on": False},
            [each for each in trials if each.pruned and (each.value or 0.0) < low],
        ),
    }
    for label, (style, found) in groups.items():
        if found:
            values = [max(each.value or 0.0, low) for each in found]
            axes.scatter([where(each) for each in found], values, s=28, label=label, **style)


def _limits(trials: Sequence[Trial], curve: Sequence[float] = ()) -> tuple[float, float]:
    """What the axis of values shows: those of the trials that are done, and the whole of `curve`.

    A trial that was pruned early can be worth so little that nobody could tell the others apart beside it.
    """
    done = [trial.value for trial in trials if trial.state is TrialStatus.DONE and trial.value is not None]
    values = [*curve, *done]
    margin = 0.08 * (max(values) - min(values)) or 0.01
    return min(values) - margin, max(values) + margin


def _place(each: Range, value: Any) -> float:
    """Where a value stands on its axis: of a choice its number, on a logarithmic scale its logarithm to ten."""
    if isinstance(each, Choice):
        return float(each.texts.index(json.dumps(value)))
    return math.log10(value) if _is_log(each) else float(value)


def _ends(each: Range) -> tuple[float, float]:
    if isinstance(each, Choice):
        return 0.0, float(len(each.values) - 1)
    return _place(each, each.low), _place(each, each.high)


def _height(each: Range, place: float) -> float:
    low, high = _ends(each)
    return (place - low) / (high - low)


def _share(each: Range, value: Any) -> float:
    return _height(each, _place(each, value))


def _ticks(each: Range) -> tuple[list[float], list[str]]:
    """Where on its axis a range is marked, and as what."""
    if isinstance(each, Choice):
        return [float(n) for n in range(len(each.values))], list(each.texts)
    low, high = _ends(each)
    if _is_log(each):
        inner = [float(n) for n in range(math.ceil(low + 0.2), math.floor(high - 0.2) + 1)]
        places = [low, *inner, high]
        return places, [f"{10**place:.3g}" for place in places]
    middle = (each.low + each.high) // 2 if isinstance(each, Integer) else (low + high) / 2
    places = sorted({low, float(middle), high})
    return places, [f"{place:.3g}" for place in places]


def _is_log(each: Range) -> bool:
    return isinstance(each, LogUniform) or (isinstance(each, Integer) and each.log)


def _whole(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mark(axes: Axes, at: float, height: float, label: str) -> None:
    axes.text(
        at + 0.04, height, label, fontsize=8, color=INK, va="center", bbox={"fc": "white", "ec": "none", "pad": 1}
    )


def _short(name: str) -> str:
    return name.removeprefix("training.")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _one(width: float, height: float) -> tuple[Figure, Axes]:
    figure = _figure(width, height)
    return figure, figure.subplots()


def _finish(axes: Axes, title: str) -> None:
    axes.grid(visible=True, color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", fontsize=12, color=INK, pad=10)


def _saved(figure: Figure, path: Path) -> Path:
    without_formulas(figure)
    figure.savefig(path, dpi=120)
    return path
