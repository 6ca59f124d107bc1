"""Every public name of the package says what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def test_every_public_name_has_a_docstring(package: Path) -> None:
    silent = []
    for path in sorted(package.rglob("*.py")):
        if "migrations" not in path.parts:  # Alembic names what is in there
            silent += [f"{path.relative_to(package)}:{line} {name}" for name, line in undocumented(path)]
    assert silent == []


def undocumented(path: Path) -> Iterator[tuple[str, int]]:
    """Public names without a docstring, with their lines."""
    tree = ast.parse(path.read_text())
    if not ast.get_docstring(tree):
        yield "the module", 1
    yield from _below(tree)


def _below(parent: ast.Module | ast.ClassDef) -> Iterator[tuple[str, int]]:
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        overridden = any(
            getattr(mark, "id", getattr(mark, "attr", "")) in ("overload", "override") for mark in node.decorator_list
        )
        if not ast.get_docstring(node) and not overridden:
            yield node.name, node.lineno
        if isinstance(node, ast.ClassDef):
            yield from _below(node)
