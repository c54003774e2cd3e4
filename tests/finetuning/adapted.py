"""Tiny models made ready to train, and one question as model inputs, for the tests of adapting."""

import copy

import torch

from gen_msa.backends.local import family
from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.pictures import Expander
from gen_msa.finetuning.adapting import adapt, precision
from gen_msa.finetuning.recipe import Recipe
from tests.backends.chats import ask, look
from tests.fixtures.tiny_models import PICTURED, tiny_model


def recipe(**settings):
    """A recipe that says nothing but `settings`; no dropout unless asked for."""
    given = {"model_name_or_path": "tiny", "output_dir": "out", "lora_dropout": 0.0, **settings}
    return Recipe(data=[{"source": "tiny:train"}], **given)


def fresh(name):
    """A copy of the tiny model of a family, whose untrained projector is not blank."""
    model = copy.deepcopy(tiny_model(name).model)
    blank = getattr(model.base_model, "multi_modal_projector", None)
    weight = getattr(blank, "mm_input_projection_weight", None)
    if weight is not None:
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(1))
    return model


def adapted(name, **settings):
    """A fresh tiny model adapted by a recipe of `settings`, and that recipe."""
    torch.manual_seed(5)
    said = recipe(**settings)
    return adapt(fresh(name), said), said


def inputs(name):
    """One question about a post, with a picture if the family sees any, and labels everywhere."""
    tiny = tiny_model(name)
    layout = Layout(tiny.processor)
    expander = Expander(layout, look, family.picture_ids(tiny.model, tiny.processor))
    question = ask("the food is fine", seen=1 if name in PICTURED else None)
    made = expander.expand(layout.row(0, question))
    row = {"input_ids": made.ids, "attention_mask": [1] * len(made.ids), **made.aligned}
    tensors = {key: torch.tensor([value]) for key, value in row.items()}
    return {**tensors, **made.tensors, "labels": tensors["input_ids"]}


def backward(model, said, given):
    """Gradients of one question; its loss."""
    with precision(model, said):
        loss = model(**given).loss
    loss.backward()
    return float(loss.detach())


def train(model, said, given, steps=2):
    """A few large plain steps, so that whatever can change does."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        backward(model, said, given)
        optimizer.step()


def logits(model, given):
    """Scores of every position, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return model(**given).logits
