"""The table of frameworks by name; one is imported when it is asked for."""

from __future__ import annotations

import importlib

from fullcircle.core.errors import UsageError
from fullcircle.training.parameters import FRAMEWORKS
from fullcircle.training.ports import Framework

BASELINE = "baseline"
"""Has a trainer but is no `Framework`: logistic regression is solved, not stepped."""

_MODULES = {
    "torch": ("fullcircle.training.on_torch.framework", "torch"),
    "keras": ("fullcircle.training.on_keras.framework", "tensorflow"),
}


def framework(name: str) -> Framework:
    """The framework "torch" or "keras".

    Raises:
        UsageError: there is no such framework, or it is not installed: the line names the extra to install.
    """
    if name not in _MODULES:
        raise UsageError(f"no trainer for {name!r}", hint=f"there are {', '.join(FRAMEWORKS)}")
    module, extra = _MODULES[name]
    try:
        found: Framework = importlib.import_module(module).FRAMEWORK
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "fullcircle":
            raise
        raise UsageError(
            f"the framework {name!r} cannot be imported ({error})", hint=f'pip install "fullcircle[{extra}]"'
        ) from error
    return found
