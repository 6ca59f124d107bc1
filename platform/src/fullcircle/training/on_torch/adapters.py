"""Adapters for models of other libraries: Lightning modules keep loss and optimizer, Hugging Face models their output.

They are known by the names of their classes: neither library is imported for a model that is none of theirs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Training
from fullcircle.core.tasks import Objective


class Logits(nn.Module):
    """A Hugging Face model as a plain one: its main input in, the `.logits` of its answer out.

    A model whose main input is `input_ids` gets the features as whole numbers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.main_input = str(getattr(model, "main_input_name", "input_ids"))

    def forward(self, features: torch.Tensor) -> Any:
        """Logits, (rows, labels of the model's head)."""
        given = features.long() if self.main_input == "input_ids" else features
        return getattr(self.model(**{self.main_input: given}), "logits", None)


def adapted(model: nn.Module) -> nn.Module:
    """A model that takes features and answers with a tensor, whichever library it comes from."""
    return Logits(model) if _base(model, "PreTrainedModel", "transformers") else model


def has_own_loss(model: nn.Module) -> bool:
    """Whether it is a LightningModule with a `training_step`."""
    # What such a model logs by itself has no Trainer to go to: the platform logs the losses.
    warnings.filterwarnings("ignore", r"You are trying to `self\.log\(\)`")
    return _overrides(model, "training_step")


@dataclass(frozen=True)
class Optimization:
    """What turns gradients into steps, and what may change the learning rate after each."""

    optimizer: torch.optim.Optimizer
    schedule: Any = None
    """A learning rate scheduler of torch, or None."""


def optimization(model: nn.Module, training: Training) -> Optimization:
    """The LightningModule's own `configure_optimizers`, or Adam, in one fused kernel where there is one.

    Raises:
        UsageError: the model has nothing to learn; `configure_optimizers` fails, or answers with something that a
            loop of steps cannot use.
    """
    learning = [values for values in model.parameters() if values.requires_grad]
    if not learning:
        raise UsageError("the torch model has no parameter that learns", hint="give it a layer, or requires_grad")
    if not _overrides(model, "configure_optimizers"):
        fused = all(values.device.type in ("cpu", "cuda") for values in learning)
        return Optimization(torch.optim.Adam(learning, lr=training.learning_rate, fused=fused))
    try:
        configured: Any = model.configure_optimizers()  # type: ignore[operator]
    except Exception as error:
        raise UsageError(
            f"the model's configure_optimizers failed ({type(error).__name__}: {error})",
            hint="it is called without a Lightning Trainer",
        ) from error
    optimizer, schedule = _one(configured)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(f"configure_optimizers must give one torch optimizer, got {configured!r}")
    schedule = _each_step(schedule)
    _require_keepable(schedule)
    return Optimization(optimizer, schedule)


def check_own_loss(model: nn.Module, x: torch.Tensor, training: Training, objective: Objective) -> None:
    """Ask a LightningModule for the loss of two rows.

    Raises:
        UsageError: it fails, gives no loss, or the training asks for class weights that it would not see.
    """
    if training.class_weights:
        raise UsageError(
            "the model's training_step has a loss of its own, which knows no class weights",
            hint="set Training(class_weights=False)",
        )
    try:
        loss = own_loss(model, x, torch.tensor([[0.0], [1.0]]).repeat(1, objective.targets), objective.loss)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"the model's training_step failed ({type(error).__name__}: {error})",
            hint=f"it gets ((features, {_targets(objective)}), batch number) and no Lightning Trainer",
        ) from error
    if loss.dim():
        raise UsageError(f"the model's training_step must give a loss of no dimensions, got {tuple(loss.shape)}")


def own_loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor, loss_name: str) -> torch.Tensor:
    """Mean loss over the rows by the model's `training_step`: its answer, or the `loss` in it.

    Args:
        y: float32 (rows, 1), or (rows, labels). Where the task's loss is `cross_entropy` the model is given codes of
            classes, int64 (rows,), which torch's own cross entropy takes; a regression's are standardised.
    """
    given = TARGETS[loss_name](y) if loss_name in TARGETS else y
    answer: Any = model.training_step((x, given), 0)  # type: ignore[operator]
    loss = answer.get("loss") if isinstance(answer, Mapping) else answer
    if not isinstance(loss, torch.Tensor):
        raise UsageError(f"the model's training_step must give a tensor or a mapping with 'loss', got {answer!r}")
    return loss


TARGETS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"cross_entropy": lambda targets: targets[:, 0].long()}
)
"""Loss by name -> what a model that brings its own is given of the targets (rows, 1), where that is another form."""


def _targets(objective: Objective) -> str:
    return "codes of classes (rows,)" if objective.loss in TARGETS else f"targets (rows, {objective.targets})"


def _one(configured: Any) -> tuple[Any, Any]:
    """One optimizer, and one scheduler or none, from the forms that Lightning takes; None if there are more."""
    if isinstance(configured, Mapping):
        return configured.get("optimizer"), configured.get("lr_scheduler")
    if not isinstance(configured, Sequence) or not configured:
        return configured, None
    first, rest = configured[0], configured[1:]
    if not isinstance(first, Sequence):
        return (None if rest else first), None
    schedules = rest[0] if rest else []
    if len(first) > 1 or len(schedules) > 1:
        return None, None
    return first[0], (schedules[0] if schedules else None)


def _each_step(configured: Any) -> Any:
    if configured is None:
        return None
    settings = configured if isinstance(configured, Mapping) else {"scheduler": configured}
    interval, frequency = settings.get("interval", "epoch"), settings.get("frequency", 1)
    plateau = isinstance(settings.get("scheduler"), torch.optim.lr_scheduler.ReduceLROnPlateau)
    if interval != "step" or frequency != 1 or plateau:
        raise UsageError(
            "a learning rate scheduler must be one that is stepped after each step, got "
            f"{type(settings.get('scheduler')).__name__} with interval {interval!r} and frequency {frequency!r}",
            hint='give {"optimizer": ..., "lr_scheduler": {"scheduler": ..., "interval": "step"}}',
        )
    return settings.get("scheduler")


def _require_keepable(schedule: Any) -> None:
    if schedule is None:
        return
    content = io.BytesIO()
    try:
        torch.save(schedule.state_dict(), content)
        torch.load(io.BytesIO(content.getvalue()), weights_only=True)
    except Exception as error:
        raise UsageError(
            f"the state of the scheduler {type(schedule).__name__} cannot be kept in a checkpoint",
            hint="use a scheduler whose state is numbers, or a plain function in LambdaLR",
        ) from error


def _overrides(model: nn.Module, method: str) -> bool:
    base = _base(model, "LightningModule", "lightning", "pytorch_lightning")
    return base is not None and getattr(type(model), method) is not getattr(base, method)


def _base(model: nn.Module, name: str, *libraries: str) -> type | None:
    for base in type(model).__mro__:
        if base.__name__ == name and base.__module__.partition(".")[0] in libraries:
            return base
    return None
