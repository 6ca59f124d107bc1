"""Locates flow files in a checkout and in an installed wheel, and loads one by its name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from fullcircle.core.errors import UsageError

FLOWS = ("deliver", "replay", "retrain", "watch")
"""The flows that there are: `<name>` is the function of that name in `<name>.py`."""


def flows_folder() -> Path:
    """The folder of the flow files: `fullcircle/_flows` of the wheel, else `flows/` of the checkout.

    Raises:
        UsageError: when neither is there: the package was installed without its flows.
    """
    package = Path(__file__).resolve().parents[1]
    # parents[2] of the package is the checkout: <checkout>/platform/src/fullcircle
    for folder in (package / "_flows", package.parents[2] / "flows"):
        if (folder / "retrain.py").is_file():
            return folder
    raise UsageError(f"no flows beside the package in {package}", hint="install the wheel or run from a checkout")


def flow_file(name: str) -> Path:
    """The file of that flow. Raises UsageError naming the flows that there are."""
    if name not in FLOWS:
        raise UsageError(f"no flow {name!r}", hint=f"the flows are {', '.join(FLOWS)}")
    return flows_folder() / f"{name}.py"


def load_flow(name: str) -> ModuleType:
    """The module of that flow, `load_flow("replay").replay(...)`. Imports Prefect, so call it inside `connect`.

    Raises:
        UsageError: when there is no such flow.
    """
    path = flow_file(name)
    # By path under a name of our own: putting flows/ on sys.path would let a file there shadow a dependency.
    module_name = f"fullcircle_flow_{name}"
    module = sys.modules.get(module_name)
    if module is None or getattr(module, "__file__", None) != str(path):
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return module
