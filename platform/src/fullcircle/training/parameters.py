"""Training parameters of one framework: what `extra["torch"]` or `extra["keras"]` says goes before the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Training

FRAMEWORKS = ("baseline", "torch", "keras")
"""Every framework that has a Trainer, in the order in which a retrain runs them."""


def for_framework(params: Training, framework: str) -> Training:
    """The parameters that this framework trains with.

    `Training(learning_rate=1e-3, extra={"hidden": 64, "keras": {"learning_rate": 2e-3, "hidden": 32}})` is, for keras,
    `Training(learning_rate=2e-3, extra={"hidden": 32})`. The result maps to itself.

    Raises:
        UsageError: `extra[framework]` is not a mapping, or a number of training does not fit.
    """
    own = params.extra.get(framework, {})
    if not isinstance(own, Mapping):
        raise UsageError(f"training.extra[{framework!r}] must be a mapping of parameters, got {own!r}")
    fields = {field.name for field in dataclasses.fields(Training)} - {"extra"}
    shared = {key: value for key, value in params.extra.items() if key not in FRAMEWORKS}
    extra = shared | {key: value for key, value in own.items() if key not in fields}
    return dataclasses.replace(params, **{key: own[key] for key in own if key in fields}, extra=extra)
