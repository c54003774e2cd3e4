"""Tiny models ready to train, and one request as model inputs."""

import copy

import torch

from gen_msa.backends.hf import model_traits
from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.backends.hf.image_inputs import ImageExpander
from gen_msa.finetuning.peft_model import mixed_precision, wrap_with_peft
from gen_msa.finetuning.recipe import FinetuneRecipe
from tests.backends.sample_requests import build_request, load_noise_image
from tests.fixtures.tiny_models import VISION_FAMILIES, tiny_model


def build_recipe(**settings):
    """A recipe with nothing but `settings`; no dropout unless requested."""
    fields = {"model_name_or_path": "tiny", "output_dir": "out", "lora_dropout": 0.0, **settings}
    return FinetuneRecipe(data=[{"source": "tiny:train"}], **fields)


def copy_tiny_model(name):
    """A copy of the tiny model of a family, whose projector is not zero."""
    model = copy.deepcopy(tiny_model(name).model)
    projector = getattr(model.base_model, "multi_modal_projector", None)
    weight = getattr(projector, "mm_input_projection_weight", None)
    if weight is not None:
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(1))
    return model


def tiny_peft_model(name, **settings):
    """A new tiny model wrapped by a recipe of `settings`, and that recipe."""
    torch.manual_seed(5)
    train_recipe = build_recipe(**settings)
    return wrap_with_peft(copy_tiny_model(name), train_recipe), train_recipe


def model_inputs(name):
    """One request about a post, with an image if the family supports any, and labels everywhere."""
    tiny = tiny_model(name)
    layout = ChatTokenizer(tiny.processor)
    expander = ImageExpander(
        layout, load_noise_image, model_traits.image_token_ids(tiny.model, tiny.processor)
    )
    request = build_request("the food is fine", image_number=1 if name in VISION_FAMILIES else None)
    expanded = expander.expand(layout.tokenize_request(0, request))
    row = {
        "input_ids": expanded.ids,
        "attention_mask": [1] * len(expanded.ids),
        **expanded.per_token,
    }
    tensors = {key: torch.tensor([value]) for key, value in row.items()}
    return {**tensors, **expanded.tensors, "labels": tensors["input_ids"]}


def backward(model, recipe, inputs):
    """Compute the gradients of one request; return its loss."""
    with mixed_precision(model, recipe):
        loss = model(**inputs).loss
    loss.backward()
    return float(loss.detach())


def train(model, recipe, inputs, steps=2):
    """Train a few large steps, so that whatever can change does."""
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(params, lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        backward(model, recipe, inputs)
        optimizer.step()


def logits(model, inputs):
    """Logits of every position, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return model(**inputs).logits
