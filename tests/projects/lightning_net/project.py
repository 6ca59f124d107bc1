"""A LightningModule in the circle: its own loss, its own optimizer, and a learning rate that changes with each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fullcircle.core.project import AtLeast, Binary, Category, Number, Project, Training


def build_torch(inputs: int, params: Mapping[str, Any]) -> Any:
    """A perceptron with one hidden layer, as somebody has it who trains with Lightning."""
    import lightning
    import torch
    from torch import nn

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(inputs, 16), nn.ReLU(), nn.Dropout(params["dropout"]), nn.Linear(16, 1)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.layers(x)
            return answer

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            features, targets = batch
            loss = nn.functional.binary_cross_entropy_with_logits(self(features), targets)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=params["peak_rate"])
            schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=20)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return Net()


project = Project(
    name="lightning_net",
    owner="tests@example.com",
    columns=(Number("load"), Number("heat", nullable=True), Category("maker")),
    target=Binary("failed", "failed within a week", labels=("ran", "broke")),
    time="at",
    row_id="machine",
    torch=build_torch,
    training=Training(epochs=3, batch_size=64, class_weights=False, extra={"dropout": 0.1, "peak_rate": 1e-2}),
    gates=(AtLeast("roc_auc", 0.5),),
)
