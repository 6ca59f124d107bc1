"""The shape of the package: folders that one can look over, no import cycle, few imports hidden in functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

MOST_MODULES = 15
"""In one folder, `__init__.py` not counted."""

INSIDE_FUNCTIONS = 151
"""Imports of our own modules inside functions: those that keep something heavy out. The number only ever falls."""


@pytest.fixture(scope="module")
def modules(package: Path) -> dict[str, ast.Module]:
    """Dotted name -> syntax tree, of every module of the package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = ["fullcircle", *path.relative_to(package).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


def test_no_folder_has_more_modules_than_one_can_look_over(package: Path) -> None:
    sizes = {
        folder.relative_to(package).as_posix(): sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        for folder in package.rglob("*")
        if folder.is_dir()
    }
    assert {folder: size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_no_modules_import_each_other_not_even_for_types(modules: dict[str, ast.Module]) -> None:
    imported = {name: targets(tree, modules) - {name} for name, tree in modules.items()}
    assert cycles(imported) == set()


def test_a_cycle_is_seen_however_long_and_wherever_its_imports_stand() -> None:
    sources = {
        "fullcircle.a": "from fullcircle import b",
        "fullcircle.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fullcircle.c import C",
        "fullcircle.c": "def f():\n    import fullcircle.a",
        "fullcircle.d": "from fullcircle.a import x",
    }
    trees = {name: ast.parse(source) for name, source in sources.items()}
    imported = {name: targets(tree, trees) for name, tree in trees.items()}
    assert cycles(imported) == {frozenset({"fullcircle.a", "fullcircle.b", "fullcircle.c"})}


def test_few_imports_of_our_own_modules_stand_inside_functions(modules: dict[str, ast.Module]) -> None:
    inside = {
        (name, node.lineno)
        for name, tree in modules.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and any(is_ours(each) for each in names_of(node))
    }
    assert len(inside) <= INSIDE_FUNCTIONS, "what brings nothing heavy is imported at the top of its file"


def targets(tree: ast.Module, modules: Mapping[str, ast.Module]) -> set[str]:
    """Our modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name for name in names_of(node) if name in modules}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in whole}
    return {name for name in found if name in modules}


def names_of(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    else:
        yield str(node.module)


def is_ours(name: str) -> bool:
    return name.partition(".")[0] == "fullcircle"


def cycles(imported: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules of which each can be reached from each other one."""
    left, found = {name: set(each) for name, each in imported.items()}, set()
    while True:
        try:
            TopologicalSorter(left).prepare()
            return found
        except CycleError as error:
            start = error.args[1][0]
            group = reached(left, start) & {name for name in left if start in reached(left, name)}
            found.add(frozenset(group))
            left = {name: each - group for name, each in left.items() if name not in group}


def reached(imported: Mapping[str, set[str]], start: str) -> set[str]:
    seen, todo = set[str](), [start]
    while todo:
        for name in imported.get(todo.pop(), ()):
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen
