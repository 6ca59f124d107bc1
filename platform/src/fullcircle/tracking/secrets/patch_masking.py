"""Masks the secrets in a patch, and restores those that the commit has when the patch is applied.

Context and removed lines have to be those of the commit, or nothing of the patch applies. So a marker there stands for
what the commit's own line has in its place; and a marker of the same number in an added line for the same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fullcircle.tracking.provenance.uncommitted import pieces_of, shown
from fullcircle.tracking.secrets.detection import MaskedSecret, replaced, secrets_in
from fullcircle.tracking.secrets.telling_names import MARKER

_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_NUMBERED = re.compile(re.escape(MARKER) + r"-(\d+)(?!\d)")


def masked_patch(patch: str) -> tuple[str, tuple[MaskedSecret, ...]]:
    """The patch with a numbered marker in the place of each secret, and what was masked."""
    numbers: dict[str, int] = {}
    parts, found = [], []
    for name, piece in pieces_of(patch):
        secrets = secrets_in(piece, name=name, guess=True)
        places = [
            (each, f"{MARKER}-{numbers.setdefault(piece[each.start : each.end], len(numbers) + 1)}") for each in secrets
        ]
        parts.append(replaced(piece, places))
        lines = list(_lines(piece))
        for each in secrets:
            line = next(one for one in reversed(lines) if one.start <= each.start)
            number = numbers[piece[each.start : each.end]]
            found.append(
                MaskedSecret(file=shown(name), line=line.number, kind=each.kind, number=number, lost=line.sign == "+")
            )
    tail = patch[sum(len(piece) for _, piece in pieces_of(patch)) :]
    known = {each.number for each in found if not each.lost}
    kept = [each if each.number not in known else _known(each) for each in found]
    return "".join(parts) + tail, tuple(kept)


def unmasked_patch(patch: str, committed: Callable[[str], Sequence[str]]) -> str:
    """The patch with what the commit has of its secrets; a marker of what was lost stays.

    Args:
        committed: the lines of a file as the commit has it, without their ends; none where it is not there.
    """
    if MARKER not in patch:
        return patch
    known: dict[str, str] = {}
    parts = []
    for name, piece in pieces_of(patch):
        if MARKER in piece:
            piece = _restored(piece, committed(name), known)
        parts.append(piece)
    return _NUMBERED.sub(lambda marker: known.get(marker.group(1), marker.group()), "".join(parts))


@dataclass(frozen=True)
class _Line:
    """A line of a piece: where it starts, its sign in a hunk ("" before the first), and its number in its file."""

    start: int
    end: int
    sign: str
    number: int


def _lines(piece: str) -> Iterator[_Line]:
    at, old, new = 0, 0, 0
    inside = False
    for text in piece.split("\n"):
        if hunk := _HUNK.match(text):
            inside, old, new = True, int(hunk[1]), int(hunk[2])
            yield _Line(at, at + len(text), "", 0)
        else:
            sign = text[:1] if inside else ""
            yield _Line(at, at + len(text), sign, new if sign == "+" else old)
            old += sign in (" ", "-")
            new += sign in (" ", "+")
        at += len(text) + 1


def _restored(piece: str, committed: Sequence[str], known: dict[str, str]) -> str:
    texts = []
    for line in _lines(piece):
        text = piece[line.start : line.end]
        if line.sign in (" ", "-") and MARKER in text and 0 < line.number <= len(committed):
            then = committed[line.number - 1]
            parts = _NUMBERED.split(text[1:])  # what stands between the markers, and their numbers
            pattern = "(.+?)".join(re.escape(each) for each in parts[::2])
            if matched := re.fullmatch(pattern, then):
                known.update(zip(parts[1::2], matched.groups(), strict=True))
                text = line.sign + then
        texts.append(text)
    return "\n".join(texts)


def _known(found: MaskedSecret) -> MaskedSecret:
    return MaskedSecret(file=found.file, line=found.line, kind=found.kind, number=found.number, lost=False)
