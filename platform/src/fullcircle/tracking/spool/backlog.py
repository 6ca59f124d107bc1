"""What of a spool folder the tracker does not have, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fullcircle.tracking.spool.rejected import RejectedEntry
from fullcircle.tracking.spool.spool_file import Artifact, Entry, Points


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What of one spool folder the tracker does not have.

    Attributes:
        run: the run's id, or the one under which it began while the tracker was away.
        begun: whether the tracker knows the run.
        points, artifacts, entries: not sent yet; entries: parameters, tags and the like.
        since: seconds since the epoch: when the oldest of it was written, as far as the file's time tells.
        why: what stands in the way; "" when nothing is known to.
        damaged: files of bytes that are no good frames.
        writing: a process is at work on the run.
        left_out: what the tracker refused and somebody gave up; it is not owed.
    """

    run: str
    folder: str
    begun: bool
    points: int
    artifacts: int
    entries: int
    since: float
    why: str
    damaged: tuple[str, ...]
    writing: bool
    left_out: tuple[RejectedEntry, ...] = ()

    @property
    def owed(self) -> bool:
        """Whether something is to be sent."""
        return not self.begun or bool(self.points or self.artifacts or self.entries)

    @property
    def nothing(self) -> bool:
        """Whether all was sent, and nothing is damaged or was left out."""
        return not (self.owed or self.damaged or self.left_out)

    def __str__(self) -> str:
        parts = [f"{count:,} {name}" for count, name in self._counts() if count]
        said = " and ".join(parts) if parts else "nothing but its beginning"
        damaged = f"; damaged and kept aside: {', '.join(self.damaged)}" if self.damaged else ""
        left_out = "".join(f"; {each}" for each in self.left_out)
        return f"run {self.run}: {said} not sent{f' ({self.why})' if self.why else ''}{damaged}{left_out}"

    def _counts(self) -> Iterator[tuple[int, str]]:
        yield self.points, "points"
        yield self.artifacts, "artifacts"
        yield self.entries, "entries"


def counted(entries: Iterable[Entry]) -> dict[str, int]:
    """How many `points`, `artifacts` and other `entries` there are."""
    counts = {"points": 0, "artifacts": 0, "entries": 0}
    for entry in entries:
        if isinstance(entry, Points):
            counts["points"] += len(entry)
        else:
            counts["artifacts" if isinstance(entry, Artifact) else "entries"] += 1
    return counts
