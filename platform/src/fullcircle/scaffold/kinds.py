"""What differs between new projects of different kinds: a few lines each, beside the templates that they share."""

from __future__ import annotations

import tomllib
from importlib import resources

TEMPLATES = resources.files("fullcircle.scaffold") / "templates"
DEFAULT_KIND = "binary"
KINDS = tuple(sorted(each.name.removesuffix(".toml") for each in (TEMPLATES / "kinds").iterdir()))
"""Kinds of target that a new project can have: those that have a template."""
IMPORTED = (
    *("AtLeast", "Budgets", "Category", "ErrorBudget", "NotWorse", "Number", "Policy", "Project"),
    *("SliceGate", "SplitRule", "Training", "Watch"),
)
"""What every new project.py imports, beside the class of its target."""


def parts(kind: str) -> dict[str, str]:
    """What the templates' placeholders stand for in a project of this kind, but for its name."""
    found: dict[str, str] = tomllib.loads((TEMPLATES / "kinds" / f"{kind}.toml").read_text(encoding="utf-8"))
    names = sorted((*IMPORTED, found["task"]))
    return found | {"imports": "".join(f"    {name},\n" for name in names)}
