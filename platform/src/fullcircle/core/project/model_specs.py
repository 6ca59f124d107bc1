"""What a project says of each of its models: the family (torch, Keras, ...) and the function that builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fullcircle.core.project.parameters import ModelFunction

BASELINE = "baseline"
"""The model that every project has without naming it."""


@dataclass(frozen=True)
class ModelSpec:
    """A model of some family; `training.trainers` has the trainer of each.

    Attributes:
        build: makes the model, see `ModelFunction`.
    """

    build: ModelFunction
    family: ClassVar[str] = ""


@dataclass(frozen=True)
class Torch(ModelSpec):
    """A torch.nn.Module: `Torch(build_torch)`."""

    family: ClassVar[str] = "torch"


@dataclass(frozen=True)
class Keras(ModelSpec):
    """A keras.Model on TensorFlow: `Keras(build_keras)`."""

    family: ClassVar[str] = "keras"


def merged(
    models: Mapping[str, ModelSpec], torch: ModelFunction | None, keras: ModelFunction | None
) -> dict[str, ModelSpec]:
    """All models by name, in the order in which they are trained: those of the short spellings first.

    Raises:
        ValueError: a name that both spellings give; it is the error's text.
    """
    found: dict[str, ModelSpec] = {}
    for name, build, kind in (("torch", torch, Torch), ("keras", keras, Keras)):
        if build is not None:
            if name in models:
                raise ValueError(name)
            found[name] = kind(build)
    return found | dict(models)
