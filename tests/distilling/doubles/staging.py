"""A double that trains in two stages: a body by what it can rebuild, then a head upon it."""

import torch
from torch import nn

from gen_msa.students import Output, Phase, students


@students.register
class Staging(nn.Module):
    """In its second stage the body stands still, and draws nothing."""

    reads = ("text",)

    def __init__(self, sizes, width=8, first=1):
        super().__init__()
        self.sizes, self.numbers, self.first = sizes, {"width": width, "first": first}, first
        self.words = nn.Embedding(sizes.width["text"], width)
        self.body = nn.Linear(width, width)
        self.head = nn.Linear(width, sizes.classes)

    def phases(self, epoch):
        if epoch < self.first:
            return (Phase("body", ("words.", "body."), loss="rebuilt"),)
        return (Phase("head", ("head.",)),)

    def warm_up(self):
        return ""

    def forward(self, batch):
        mask = batch.mask["text"].unsqueeze(-1)
        words = (self.words(batch.x["text"]) * mask).sum(1) / mask.sum(1)
        hidden = torch.tanh(self.body(words))
        return Output(self.head(hidden), losses={"rebuilt": (hidden - words).square().mean()})
