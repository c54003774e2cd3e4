"""Rows of our own words with pictures, and a frozen tiny model that counts its looks at them."""

import copy
from typing import NamedTuple

import torch

from gen_msa.backends.local import family as facts
from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.pictures import Expander, stacked
from gen_msa.chat import Chat, Request, Text, Turn
from gen_msa.finetuning.tower import Tower
from gen_msa.finetuning.vision import Memory
from tests.backends.chats import ask, look, picture
from tests.fixtures.tiny_models import tiny_model


class Shown(NamedTuple):
    """A row ready for a batch."""

    pictures: tuple
    row: object
    expanded: object


class Bench:
    """A frozen copy of a tiny model, its rows, and how often its tower ran."""

    def __init__(self, name):
        tiny = tiny_model(name)
        self.model = copy.deepcopy(tiny.model).requires_grad_(False)
        self.processor = tiny.processor
        self.layout = Layout(tiny.processor)
        marks = facts.picture_ids(self.model, tiny.processor)
        self.expander = Expander(self.layout, look, marks)
        self.runs = 0
        leaf = next(m for m in Tower.of(self.model).module.modules() if not [*m.children()])
        leaf.register_forward_pre_hook(self._count)

    def _count(self, *_):
        self.runs += 1

    def rows(self, *requests):
        asked = [self.layout.row(i, r) for i, r in enumerate(requests)]
        return [Shown(r.pictures, r, self.expander.expand(r)) for r in asked]

    def memory(self, folder):
        return Memory(self.model, self.processor, folder)

    def keep(self, memory, rows):
        return [memory.keep(r.pictures, lambda r=r: r.expanded) for r in rows if r.pictures]

    def logits(self, rows, tensors=None):
        found = [r.expanded for r in rows]
        width = max(len(e.ids) for e in found)
        inputs = stacked([e.tensors for e in found]) if tensors is None else dict(tensors)
        for name in {n for e in found for n in e.aligned}:
            lists = [e.aligned.get(name, [0] * len(e.ids)) for e in found]
            inputs[name] = torch.tensor([v + [0] * (width - len(v)) for v in lists])
        inputs["input_ids"] = torch.tensor([e.ids + [0] * (width - len(e.ids)) for e in found])
        mask = [[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in found]
        return self.model(**inputs, attention_mask=torch.tensor(mask), use_cache=False).logits

    def recalled(self, memory, rows, keys):
        recalled = memory.load(keys)
        with memory.recalling(recalled):
            return self.logits(rows, recalled.tensors)


def pair(text="two of them"):
    """A question that shows two pictures of different sizes."""
    parts = (picture(1), picture(5), Text(text=text, untrusted=True))
    return Request(chat=Chat(turns=(Turn(role="user", parts=parts),)), max_new_tokens=4)


def one(number, text="the food is fine", **more):
    return ask(text, seen=number, slot=None, **more)
