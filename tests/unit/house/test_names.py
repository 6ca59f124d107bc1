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

NOT_YET: dict[str, frozenset[str]] = {
    "modules": frozenset(
        {
            "evaluation/case",
            "evaluation/copies",
            "evaluation/spending",
            "evaluation/takeover",
            "loop/promotion/handover",
            "loop/interrupted",
            "loop/launching",
            "loop/lineage/ingredients",
            "loop/looks",
            "apps/replay/month",
            "apps/replay/story",
            "apps/reproduction/originals",
            "apps/reproduction/rebuild",
            "loop/shadow",
            "loop/trainable",
            "monitoring/distances",
        }
    ),
    "classes": frozenset(
        {
            "core/project/gates:Agrees",
            "evaluation/case:Case",
            "evaluation/case:Word",
            "evaluation/spending:Look",
            "evaluation/spending:Spent",
            "loop/promotion/handover:Handover",
            "loop/launching:Launched",
            "loop/launching:Told",
            "apps/reproduction/reproduce:Again",
            "loop/succession:Case",
            "loop/succession:Wish",
            "loop/train:Wish",
            "apps/tuning/study_wish:Wish",
            "monitoring/distances:Draws",
        }
    ),
    "functions": frozenset(
        {
            "evaluation/takeover:takeover",
            "loop/budget:claimed",
            "loop/challenger:keep_verdict",
            "loop/challenger:tidy",
            "loop/promotion/ledger:heal",
            "loop/conclusion:conclude",
            "loop/launching:again",
            "loop/launching:forget",
            "loop/launching:launched",
            "loop/shadow:shadowed",
            "apps/tuning/trials:conclude",
            "orchestration/demo:forget",
            "tuning/study:again",
        }
    ),
}
"""Banned names that stand to this day, with the module that they stand in. It only ever grows shorter."""


def test_no_name_that_nobody_can_search_for_comes_back(package: Path) -> None:
    found = {kind: set[str]() for kind in NOT_YET}
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package).with_suffix("").as_posix()
        if {path.stem, path.parent.name} & BANNED_MODULES:
            found["modules"].add(where)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name in BANNED_CLASSES:
                found["classes"].add(f"{where}:{node.name}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in BANNED_FUNCTIONS:
                found["functions"].add(f"{where}:{node.name}")
    assert {kind: names - NOT_YET[kind] for kind, names in found.items() if names - NOT_YET[kind]} == {}


def test_a_class_name_stands_for_one_thing(package: Path) -> None:
    where: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(path.relative_to(package).as_posix())
    assert {name: paths for name, paths in where.items() if len(paths) > 1 and name not in SHARED_CLASS_NAMES} == {}


SHARED_CLASS_NAMES: frozenset[str] = frozenset(
    {
        "Asked",
        "Case",
        "Origin",
        "Wish",
        "Writer",
    }
)
"""Names that stand for two things to this day. It only ever grows shorter."""


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
