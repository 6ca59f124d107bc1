"""A Hugging Face transformer in the circle, made from a configuration: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fullcircle.core.project import AtLeast, Binary, Category, Number, Project, Training


def build_torch(inputs: int, params: Mapping[str, Any]) -> Any:
    """BERT over a row: every feature is a token, its value times that feature's own direction."""
    import torch
    from torch import nn
    from transformers import BertConfig, BertModel, PreTrainedModel
    from transformers.modeling_outputs import SequenceClassifierOutput

    class RowTransformer(PreTrainedModel):
        config_class = BertConfig
        main_input_name = "features"

        def __init__(self, config: BertConfig) -> None:
            super().__init__(config)
            self.directions = nn.Parameter(torch.randn(inputs, config.hidden_size) * 0.5)
            self.bert = BertModel(config, add_pooling_layer=False)
            self.head = nn.Linear(config.hidden_size, 1)
            self.post_init()

        def forward(self, features: torch.Tensor) -> SequenceClassifierOutput:
            tokens = features[:, :, None] * self.directions
            states = self.bert(inputs_embeds=tokens).last_hidden_state
            return SequenceClassifierOutput(logits=self.head(states.mean(dim=1)))

    width = params["width"]
    return RowTransformer(
        BertConfig(
            vocab_size=2,
            hidden_size=width,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=2 * width,
            max_position_embeddings=inputs,
        )
    )


project = Project(
    name="tiny_transformer",
    owner="tests@example.com",
    columns=(Number("load"), Number("heat", nullable=True), Category("maker")),
    target=Binary("failed", "failed within a week"),
    time="at",
    row_id="machine",
    torch=build_torch,
    training=Training(epochs=3, batch_size=64, learning_rate=5e-3, extra={"width": 16}),
    gates=(AtLeast("roc_auc", 0.5),),
)
