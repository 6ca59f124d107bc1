"""Names are the field's own, so that a stranger can search for them; what is ours is explained on one page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

BANNED_MODULES = frozenset(
    {
        *("again", "anchor", "ancestry", "asking", "case", "checkout", "copies"),
        *("courier", "course", "direct", "distances", "feeder", "finding", "handover", "ingredients", "intake"),
        *(
            "interrupted",
            "launched",
            "launching",
            "learner",
            "leash",
            "leaving",
            "left_out",
        ),
        *("looks", "month", "notice", "opening", "originals", "pace", "pids", "places", "plain", "pooled"),
        *("quiet", "reached", "reaching", "rebuild", "rehearsal", "repeats", "resuming", "revived", "saver"),
        *("shadow", "spending", "standing", "starting", "stopping", "story", "syncing", "takeover"),
        *("telling", "told", "trainable", "twin"),
    }
)
"""Old names of modules and folders that nobody could search for. What took their place says what it does."""

BANNED_CLASSES = frozenset(
    {
        *("Again", "Agrees", "Anchor", "Armed", "Case", "ChampionFollower", "Copies", "Courier", "Course", "Door"),
        *("Draws", "Fed", "Handover", "HotPath", "Intake", "Launched", "Learner", "LeftOut", "Look", "Looks", "Mark"),
        *("MlflowDoor", "OfFile", "OfServer", "Once", "OneGraph", "Repeats", "RunSeen", "Sharing", "Shards", "Silent"),
        *("Spent", "Standing", "Term", "Told", "Unsent", "Whole", "Wish", "Word", "World"),
    }
)
BANNED_FUNCTIONS = frozenset(
    {
        *("again", "asked", "blame", "claimed", "conclude", "dying_with", "forget", "goes_on", "heal", "in_one_line"),
        *("interrupts_wait", "keep_verdict", "kept", "kept_alive", "launched", "looks", "outlast", "shadowed"),
        *("steadily", "takeover", "tidy", "told"),
    }
)
"""Of public functions and methods. A verb in its plain form says what is done: log, save, retry."""


def test_no_name_that_nobody_can_search_for_comes_back(package: Path) -> None:
    found = set[str]()
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package).with_suffix("").as_posix()
        if {path.stem, path.parent.name} & BANNED_MODULES:
            found.add(where)
        for node in ast.walk(ast.parse(path.read_text())):
            if (isinstance(node, ast.ClassDef) and node.name in BANNED_CLASSES) or (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in BANNED_FUNCTIONS
            ):
                found.add(f"{where}:{node.name}")
    assert found == set()


def test_a_class_name_stands_for_one_thing(package: Path) -> None:
    where: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(path.relative_to(package).as_posix())
    assert {name: paths for name, paths in where.items() if len(paths) > 1} == {}


@pytest.fixture(scope="module")
def glossary(repository: Path) -> list[str]:
    text = (repository / "docs" / "glossary.md").read_text()
    return re.findall(r"^\| \*\*([^*]+)\*\* \| .{20,} \| .+ \|$", text, re.MULTILINE)


def test_the_glossary_explains_at_most_twenty_words_of_ours(glossary: list[str], repository: Path) -> None:
    rows = [line for line in (repository / "docs" / "glossary.md").read_text().splitlines() if line.startswith("| **")]
    assert len(glossary) == len(rows), "every word has its definition and the field's nearest term"
    assert 10 <= len(glossary) <= 20
    assert sorted(set(glossary)) == sorted(glossary)


def test_the_words_of_the_glossary_are_used(glossary: list[str], package: Path) -> None:
    text = "\n".join(path.read_text().lower() for path in package.rglob("*.py"))
    unused = {word for word in glossary if not re.search(rf"\b{word.removesuffix('ion')}", text) and word not in text}
    assert unused == set()
