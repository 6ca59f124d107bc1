"""Progress of long work on a terminal: finished stages as lines, the running one as a bar (rich).

What is told comes from outside. On our consoles a text is a text: neither square brackets nor escape codes in it mean
anything; only `styled` gives a line its colours.
"""

from __future__ import annotations

import contextlib
import json
import string
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.control import Control
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from fullcircle.core.errors import UsageError
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.security.untrusted import visible
from fullcircle.core.settings import seconds_in
from fullcircle.loop.progress import shown_by


class PlainConsole(Console):
    """A console that takes texts as they are: no markup, no emoji codes, and no escape codes but its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)
        self.push_render_hook(_Spelled())


class _Spelled(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Rich's word for: whatever is printed passes here."""
        return [each if isinstance(each, Control) else _Inside(each) for each in renderables]


class _Inside:
    """Something to print, whose texts have their hidden characters spelled out."""

    def __init__(self, printed: ConsoleRenderable) -> None:
        self._printed = printed

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._printed, options):
            yield Segment(text if control else visible(text, keep="\n"), style, control)


def styled(template: str, *values: object, **named: object) -> Text:
    """A line from a template with rich's markup, such as `[bold]{}[/]: {}`; in the values nothing is markup, and each
    stays in one line."""
    return Text.from_markup(_InertValues().vformat(template, values, named), emoji=False)


class _InertValues(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return escape(visible(super().format_field(value, format_spec)))


class TerminalProgress:
    """A line for each stage, with the seconds since the start, and one live bar below.

    Where the output is no terminal (a log, CI) the bar is left out and epochs are lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._judged = ""

    @contextlib.contextmanager
    def live(self) -> Iterator[TerminalProgress]:
        """Show the bars while the block runs."""
        if not self._console.is_terminal:
            yield self
            return
        with self._bars:
            yield self

    def stage(self, name: str, detail: str = "") -> None:
        """Print the stage and what it came to."""
        seconds = time.monotonic() - self._started
        line = styled("[dim]{:6.1f}s[/] [bold cyan]{:<24}[/] {}", seconds, name, detail)
        line.rstrip()
        self._line(line)

    def epoch(self, framework: str, metrics: EpochMetrics, epochs: int) -> None:
        """Move the trainer's bar, and print the epoch as a line where there is no bar."""
        detail = f"{metrics}"
        self._judged = f", {detail.partition(', ')[2]}"
        self._bar(f"train {framework}", metrics.epoch, epochs, detail)
        if not self._console.is_terminal:
            self._line(styled("        {} epoch {}/{}: {}", framework, metrics.epoch, epochs, detail))

    def moved(self, framework: str, epochs_done: float, epochs: int, samples_per_second: float) -> None:
        """Move the trainer's bar within an epoch. Its ETA is that of all epochs; not all may be needed."""
        if epochs_done < epochs:
            judged = self._judged if epochs_done >= 1 else ""
            detail = f"epoch {int(epochs_done) + 1}/{epochs}{judged}, {samples_per_second:,.0f} rows/s"
            self._bar(f"train {framework}", epochs_done, epochs, detail)

    def advance(self, name: str, done: int, total: int) -> None:
        """Move the stage's bar; it goes when it is full."""
        self._bar(name, done, total, f"{done:,} of {total:,}")

    def note(self, text: str) -> None:
        """Print the note, set back."""
        self._line(styled("        [yellow]{}[/]", text))

    def _line(self, text: Text) -> None:
        # A log is searched line by line, so that there no line is broken in two.
        self._console.print(text, highlight=False, soft_wrap=not self._console.is_terminal)

    def _bar(self, name: str, done: float, total: float, detail: str) -> None:
        if name.startswith("train "):
            for other in [key for key in self._tasks if key.startswith("train ") and key != name]:
                self._bars.remove_task(self._tasks.pop(other))
        detail = escape(visible(detail))
        if name not in self._tasks:
            described = escape(visible(name))
            self._tasks[name] = self._bars.add_task(described, total=total, completed=int(done), detail=detail)
        self._bars.update(self._tasks[name], completed=done, total=total, detail=detail)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(name))


@contextlib.contextmanager
def shown(console: Console) -> Iterator[None]:
    """Long work in this block shows its progress on the console."""
    with TerminalProgress(console).live() as view, shown_by(view):
        yield


def consoles(as_json: bool) -> tuple[Console, Console]:
    """(for results, for progress): with --json, standard output carries the JSON alone."""
    return PlainConsole(quiet=as_json), PlainConsole(stderr=as_json)


def print_json(value: object) -> None:
    """One JSON document on standard output; times as ISO 8601."""
    print(json.dumps(value, default=_plain, indent=2))


def parse_time(text: str | None) -> datetime | None:
    """An ISO date or time as UTC. Raises UsageError saying what was expected."""
    from datetime import UTC

    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the first and the last day of the calendar, elsewhere
        raise UsageError(f"a time must look like 2013-04-01 or 2013-04-01T12:00, got {text!r}") from error


def parse_span(text: str) -> float:
    """A span of time such as 90s, 30m or 1h30m, in seconds. Raises UsageError saying what was expected."""
    if not (seconds := seconds_in(text)):
        raise UsageError(f"a span of time must look like 90s, 30m or 1h30m, got {text!r}")
    return seconds


def _plain(value: object) -> object:
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
