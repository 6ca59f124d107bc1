"""A lineage trace as a tree on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.text import Text
from rich.tree import Tree

from fullcircle.core.records.lineage_trace import NodeKind, Trace, TraceNode
from fullcircle.core.security.untrusted import visible

_BELOW = {
    NodeKind.VERSION: NodeKind.PREDICTION,
    NodeKind.RUN: NodeKind.VERSION,
    NodeKind.CODE: NodeKind.RUN,
    NodeKind.ENVIRONMENT: NodeKind.RUN,
    NodeKind.DATA: NodeKind.RUN,
    NodeKind.VERDICT: NodeKind.VERSION,
    NodeKind.RELEASE: NodeKind.VERSION,
}


def trace_tree(trace: Trace, *, ascii_only: bool = False) -> Tree:
    """The prediction at the root, and each link below the one that led to it.

    Args:
        ascii_only: the terminal has no signs but ASCII.
    """
    marks = ("x ", "+ ") if ascii_only else ("✗ ", "✓ ")
    nodes: dict[NodeKind, Tree] = {}
    for link in trace.links:
        label = _label(link, marks)
        above = _BELOW.get(link.kind)
        nodes[link.kind] = Tree(label, guide_style="dim") if above is None else nodes[above].add(label)
        for line in _details(link):
            nodes[link.kind].add(Text(visible(line), style="dim"))
        for each in link.missing:
            said = "\n".join(visible(text) for text in (f"missing: {each.what}", each.why, f"-> {each.hint}"))
            nodes[link.kind].add(Text(said, style="red"))
    return nodes[NodeKind.PREDICTION]


def _label(link: TraceNode, marks: tuple[str, str]) -> Text:
    bad, good = marks
    mark = Text(bad, style="bold red") if link.missing else Text(good, style="bold green")
    return mark + Text(f"{link.kind.value:<14}", style="bold") + Text(visible(link.title) or "missing")


def _details(link: TraceNode) -> Iterator[str]:
    if not link.title:
        return
    facts = link.facts
    match link.kind:
        case NodeKind.PREDICTION:
            inputs = facts["inputs"]
            assert isinstance(inputs, Mapping)
            moments = f"for {facts['event_time']:%Y-%m-%d %H:%M}, answered {facts['logged_at']:%Y-%m-%d %H:%M:%S} UTC"
            yield f"row {facts['row_id']} {moments}"
            yield ", ".join(f"{name}={_value(value)}" for name, value in inputs.items())
        case NodeKind.VERSION | NodeKind.RUN:
            yield f"{facts['link']}  (in the MLflow UI)"
        case NodeKind.CODE if facts["diff_files"]:
            yield f"changed: {_listed(facts['diff_files'])}"
        case NodeKind.ENVIRONMENT if facts["differs"]:
            differs = facts["differs"]
            assert isinstance(differs, Mapping)
            pairs = [f"{name} {_or_none(each['then'])} -> {_or_none(each['here'])}" for name, each in differs.items()]
            yield f"then -> here: {_listed(pairs)}"
        case NodeKind.DATA if "files" in facts:
            files = facts["files"]
            assert isinstance(files, Mapping)
            yield f"{_listed(list(files))}; DVC remote {facts['remote']}"
        case NodeKind.VERDICT:
            reasons = facts["reasons"]
            assert isinstance(reasons, list)
            yield from (str(reason) for reason in reasons)
        case NodeKind.RELEASE:
            yield f"why: {facts['why']}"
            yield _office(facts)


def _office(facts: Mapping[str, object]) -> str:
    if facts["champion_when_answered"]:
        return "it was the champion when it answered"
    return f"it answered {facts['seconds_off']:,.1f} s outside of its time as champion"


def _listed(words: object, shown: int = 4) -> str:
    assert isinstance(words, list)
    more = f" and {len(words) - shown} more" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _or_none(version: str) -> str:
    return version or "none"
