"""The trainers by name; a framework is imported when it is asked for."""

from __future__ import annotations

import importlib

from fullcircle.core.errors import UsageError
from fullcircle.core.models import Trainer
from fullcircle.training.parameters import FRAMEWORKS

_HOMES = {
    "baseline": ("fullcircle.training.baseline", "BaselineTrainer", ""),
    "torch": ("fullcircle.training.torch_trainer", "TorchTrainer", "torch"),
    "keras": ("fullcircle.training.keras_trainer", "KerasTrainer", "tensorflow"),
}


def trainer(framework: str) -> Trainer:
    """The trainer of "baseline", "torch" or "keras".

    Raises:
        UsageError: no such framework, or it is not installed: the line names the extra to install.
    """
    if framework not in _HOMES:
        raise UsageError(f"no trainer for {framework!r}", hint=f"there are {', '.join(FRAMEWORKS)}")
    module, name, extra = _HOMES[framework]
    try:
        made: Trainer = getattr(importlib.import_module(module), name)()
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "fullcircle":
            raise
        raise UsageError(
            f"the framework {framework!r} cannot be imported ({error})", hint=f'pip install "fullcircle[{extra}]"'
        ) from error
    return made
