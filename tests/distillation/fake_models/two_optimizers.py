"""A fake MMIM (Han et al. 2021): an estimator is updated by its own likelihood before the rest."""

import torch
from torch import nn

from gen_msa.models import Output, Phase, models


@models.register
class TwoOptimizers(nn.Module):
    """Estimates each post's mean token embedding from the hidden layer."""

    modalities = ("text",)

    def __init__(self, input_dims, width=8):
        super().__init__()
        self.input_dims, self.config = input_dims, {"width": width}
        self.embedding = nn.Embedding(input_dims.width["text"], width)
        self.body = nn.Linear(width, width)
        self.head = nn.Linear(width, input_dims.classes)
        self.estimator = nn.Linear(width, width)
        self.estimator_weights = []

    def phases(self, epoch):
        return (
            Phase("estimator", ("estimator.",), loss="likelihood"),
            Phase("main", ("embedding.", "body.", "head.")),
        )

    def load_pretrained(self):
        return ""

    def forward(self, batch):
        mask = batch.mask["text"].unsqueeze(-1)
        mean_embedding = (self.embedding(batch.inputs["text"]) * mask).sum(1) / mask.sum(1)
        hidden = torch.tanh(self.body(mean_embedding))
        if self.training:
            self.estimator_weights.append(self.estimator.weight.detach().clone())
        error = (self.estimator(hidden) - mean_embedding).square().mean()
        return Output(self.head(hidden), losses={"likelihood": error, "information": 0.5 * error})
