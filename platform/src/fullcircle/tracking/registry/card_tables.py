"""Tables of a model card, in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fullcircle.core.security.untrusted import markdown
from fullcircle.core.tasks import Task


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, and an empty one behind it. Cells are Markdown already."""
    yield _line(head)
    yield _line(["---"] * len(head))
    yield from (_line(row) for row in rows)
    yield ""


def _line(cells: Sequence[str]) -> str:
    # Cells are Markdown already; a bar would end one, even in code.
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def metric_title(task: Task, name: str) -> str:
    """A metric's name; with its unit where that is the answers' own, as errors have it: `mae (rentals)`."""
    unit = task.metrics[name].unit
    return markdown(f"{name} ({unit})" if unit and unit == task.answer_format.unit else name)
