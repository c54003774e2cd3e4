"""Rows with images, and a frozen tiny model that counts the calls of its vision tower."""

import copy
from typing import NamedTuple

import torch

from gen_msa.backends.hf import model_traits
from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.backends.hf.image_inputs import ImageExpander, stack_tensors
from gen_msa.chat import Chat, Request, TextInput, Turn
from gen_msa.finetuning.feature_cache import VisionFeatureCache, VisionTower
from tests.backends.sample_requests import build_request, image_input, load_noise_image
from tests.fixtures.tiny_models import tiny_model


class ExpandedRow(NamedTuple):
    """A row ready for a batch."""

    images: tuple
    row: object
    expanded: object


class CountingModel:
    """A frozen copy of a tiny model, its rows, and the number of calls of its tower."""

    def __init__(self, name):
        tiny = tiny_model(name)
        self.model = copy.deepcopy(tiny.model).requires_grad_(False)
        self.processor = tiny.processor
        self.chat_tokenizer = ChatTokenizer(tiny.processor)
        image_token_ids = model_traits.image_token_ids(self.model, tiny.processor)
        self.expander = ImageExpander(self.chat_tokenizer, load_noise_image, image_token_ids)
        self.tower_calls = 0
        leaf_module = next(
            m for m in VisionTower.from_model(self.model).module.modules() if not [*m.children()]
        )
        leaf_module.register_forward_pre_hook(self._count_call)

    def _count_call(self, *_):
        self.tower_calls += 1

    def rows(self, *requests):
        encoder_rows = [self.chat_tokenizer.tokenize_request(i, r) for i, r in enumerate(requests)]
        return [ExpandedRow(r.images, r, self.expander.expand(r)) for r in encoder_rows]

    def open_cache(self, folder):
        return VisionFeatureCache(self.model, self.processor, folder)

    def ensure(self, cache, rows):
        return [cache.ensure(r.images, lambda r=r: r.expanded) for r in rows if r.images]

    def logits(self, rows, tensors=None):
        expanded = [r.expanded for r in rows]
        width = max(len(e.ids) for e in expanded)
        inputs = stack_tensors([e.tensors for e in expanded]) if tensors is None else dict(tensors)
        for name in {n for e in expanded for n in e.per_token}:
            lists = [e.per_token.get(name, [0] * len(e.ids)) for e in expanded]
            inputs[name] = torch.tensor([v + [0] * (width - len(v)) for v in lists])
        inputs["input_ids"] = torch.tensor([e.ids + [0] * (width - len(e.ids)) for e in expanded])
        mask = [[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in expanded]
        return self.model(**inputs, attention_mask=torch.tensor(mask), use_cache=False).logits

    def cached_logits(self, cache, rows, keys):
        cached = cache.load(keys)
        with cache.use_cached(cached):
            return self.logits(rows, cached.tensors)


def two_image_request(text="two of them"):
    """A request with two images of different sizes."""
    parts = (image_input(1), image_input(5), TextInput(text=text, untrusted=True))
    return Request(chat=Chat(turns=(Turn(role="user", parts=parts),)), max_new_tokens=4)


def one_image_request(image_number, text="the food is fine", **options):
    return build_request(text, image_number=image_number, slot=None, **options)
