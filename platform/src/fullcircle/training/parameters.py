"""Training parameters of one model: what `extra["torch"]` or `extra["keras"]` says goes before the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Training

OWN = ("baseline", "torch", "keras")
"""Keys of `extra` that are the parameters of one model, whether the project has it or not."""


def for_model(params: Training, name: str, models: Iterable[str] = ()) -> Training:
    """The parameters that this model trains with.

    `Training(learning_rate=1e-3, extra={"hidden": 64, "keras": {"learning_rate": 2e-3, "hidden": 32}})` is, for keras,
    `Training(learning_rate=2e-3, extra={"hidden": 32})`. The result maps to itself.

    Args:
        models: names of the project's models; what `extra` says of the others is left out.

    Raises:
        UsageError: `extra[name]` is not a mapping, or a number of training does not fit.
    """
    own = params.extra.get(name, {})
    if not isinstance(own, Mapping):
        raise UsageError(f"training.extra[{name!r}] must be a mapping of parameters, got {own!r}")
    fields = {field.name for field in dataclasses.fields(Training)} - {"extra"}
    shared = {key: value for key, value in params.extra.items() if key not in {*OWN, *models}}
    extra = shared | {key: value for key, value in own.items() if key not in fields}
    return dataclasses.replace(params, **{key: own[key] for key in own if key in fields}, extra=extra)
