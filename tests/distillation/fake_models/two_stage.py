"""A fake model that trains in two stages: a body by reconstruction, then a head on it."""

import torch
from torch import nn

from gen_msa.models import Output, Phase, models


@models.register
class TwoStage(nn.Module):
    """Freezes the body in the second stage; nothing is random there."""

    modalities = ("text",)

    def __init__(self, input_dims, width=8, first_stage_epochs=1):
        super().__init__()
        self.input_dims, self.config, self.first_stage_epochs = (
            input_dims,
            {"width": width, "first_stage_epochs": first_stage_epochs},
            first_stage_epochs,
        )
        self.embedding = nn.Embedding(input_dims.width["text"], width)
        self.body = nn.Linear(width, width)
        self.head = nn.Linear(width, input_dims.classes)

    def phases(self, epoch):
        if epoch < self.first_stage_epochs:
            return (Phase("body", ("embedding.", "body."), loss="rebuilt"),)
        return (Phase("head", ("head.",)),)

    def load_pretrained(self):
        return ""

    def forward(self, batch):
        mask = batch.mask["text"].unsqueeze(-1)
        mean_embedding = (self.embedding(batch.inputs["text"]) * mask).sum(1) / mask.sum(1)
        hidden = torch.tanh(self.body(mean_embedding))
        return Output(
            self.head(hidden), losses={"rebuilt": (hidden - mean_embedding).square().mean()}
        )
