"""Values under a telling name that are not beside it: the items of a list, and the lines of a YAML list or block."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from fullcircle.tracking.secrets.telling_names import NAME, VARIABLE, tells

_LONGEST_LIST, _LONGEST_HEAD, _MOST_LINES = 4_000, 200, 200
_OPENED = re.compile(
    rf"({NAME})\\?['\"\]]{{0,2}}\s{{0,9}}(?::\s{{0,3}}[\w.|\[\] ]{{1,40}}(?==))?[:=]\s{{0,9}}[\[(](?!\))"
)
_QUOTED = re.compile(r"[\])]|#[^\n]*|(\"{3}|'{3}|\\?['\"])(?P<value>[^'\"\n]{0,300}?)\1")
_PLAIN = re.compile(
    r"[\])\n]|(?<=[\[,])[ \t]{0,9}(?P<value>[^\s'\",\[\](){}#][^'\",\[\](){}\n]{0,300}?)[ \t]{0,9}(?=[,\]])"
)
_HEAD = re.compile(
    rf"^(?P<sign>[+\- ]?)(?P<indent>[ \t]{{0,40}})(?:- )?['\"]?[\w.-]{{0,40}}?(?P<name>{NAME})['\"]?\s{{0,3}}:"
    r"[ \t]{0,3}(?P<block>[|>][+-]?\d?[+-]?)?[ \t]{0,3}(?:#[^\n]*)?$"
)
_ITEM = re.compile(r"-[ \t]{1,9}(['\"]?)(?P<value>[^\n#'\"]{1,300}?)\1[ \t]{0,9}(?:#.*)?$")


def listed(text: str, *, yaml: bool) -> Iterator[tuple[int, int]]:
    """(start, end) of each. `yaml`: read lists without brackets, values without quotes and blocks, too."""
    for item in (_QUOTED, _PLAIN) if yaml else (_QUOTED,):
        read = 0
        for head in _OPENED.finditer(text):
            if head.start() >= read:  # what lies in a list was read with it: each character is read once
                found, read = _items(text, head, item)
                yield from found
    if yaml:
        yield from _yaml_values(text)


def _items(text: str, head: re.Match[str], item: re.Pattern[str]) -> tuple[list[tuple[int, int]], int]:
    """(where the items of a list are, how far it was read)."""
    start = head.end() - (item is _PLAIN)
    end = min(len(text), start + _LONGEST_LIST)
    found: list[tuple[int, int]] = []
    for each in item.finditer(text, start, end):
        value = each["value"]
        if value is None:
            if each.group()[0] != "#":
                return found, each.end()  # the list is closed
        elif tells(head.group(1), value) and not re.search(NAME, value) and not VARIABLE.fullmatch(value):
            found.append(each.span("value"))
    return found, end


def _yaml_values(text: str) -> Iterator[tuple[int, int]]:
    """Of `name:` alone on its line, the items and the lines of the block below it. Those of a mapping have names."""
    is_patch = "\n@@ -" in text or text.startswith("@@ -")
    lines, number = text.split("\n"), 0
    starts = [0, *itertools.accumulate(len(line) + 1 for line in lines)]
    while number < len(lines):
        head = _HEAD.match(lines[number]) if len(lines[number]) <= _LONGEST_HEAD else None
        number += 1
        if head is None:
            continue
        own = _indent(lines[number - 1], is_patch)
        last = min(len(lines), number + _MOST_LINES)
        while number < last and (span := _value_below(lines[number], own, head, is_patch)) is not None:
            if span[0] < span[1]:
                yield starts[number] + span[0], starts[number] + span[1]
            number += 1


def _value_below(line: str, own: int, head: re.Match[str], is_patch: bool) -> tuple[int, int] | None:
    """Where in the line a value stands, (0, 0) for none; None where what is under the name has ended."""
    signed = min(len(line), int(is_patch))
    content = line[signed:].strip()
    if not content or content.startswith("#"):
        return 0, 0
    indent, start = _indent(line, is_patch), line.index(content, signed)
    if head["block"]:
        return (start, start + len(content)) if indent > own else None
    item = _ITEM.match(content)
    if item is None or indent < own:
        return None
    value = item["value"]
    if ": " in value or value.endswith(":") or re.search(NAME, value) or not tells(head["name"], value):
        return 0, 0  # a mapping, or the name of a secret that is kept elsewhere
    return start + item.start("value"), start + item.end("value")


def _indent(line: str, is_patch: bool) -> int:
    content = line[int(is_patch) :]
    return len(content) - len(content.lstrip(" \t"))
