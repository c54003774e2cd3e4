"""Rows of our own words for one tiny model, and their batches, losses and gradients."""

import copy

import torch

from gen_msa import prompting
from gen_msa.backends.local import family as facts
from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.pictures import Expander, stacked
from gen_msa.finetuning.batches import collate, rows_of
from gen_msa.finetuning.branches import alone, joined
from gen_msa.finetuning.encode import Encoder
from gen_msa.finetuning.loss import LabelledHead, Weigher, of_logits
from gen_msa.finetuning.recipe import Loss
from gen_msa.finetuning.rows import Row
from gen_msa.readers.prompted.asking import Question
from gen_msa.readers.prompted.seeing import Seen
from gen_msa.types import Aspect, Opinion, Polarity, Post
from tests.backends.chats import look, picture
from tests.fixtures.tiny_models import tiny_model

TEXT = "The screen is great, the battery awful, the waiter fine and the soup so slow"
TERMS = ("screen", "battery", "waiter", "soup")
LONG = "it is said of it that the screen is great and that the service is slow, which is not good"


class Lesson:
    """A copy of a tiny model with the training side of it."""

    def __init__(self, family, *, attention="sdpa", max_length=2048, head=True):
        tiny = tiny_model(family)
        self.model = copy.deepcopy(tiny.model)
        self.model.set_attn_implementation(attention)
        self.layout = Layout(tiny.processor)
        self.marks = facts.picture_ids(self.model, tiny.processor)
        self.expander = Expander(self.layout, look, self.marks)
        self.encoder = Encoder(self.layout, self.expander, max_length)
        self.head = LabelledHead(self.model, on=head)

    def row(self, term=0, polarity=Polarity.POSITIVE, reason="it is fine", **more):
        """A row about the `term`-th aspect of the text; `number` is that of its picture."""
        prompt = prompting.load(more.get("prompt", "reader/brief"))
        number, text = more.get("picture"), more.get("text", TEXT)
        aspects = tuple(Aspect(term=t, start=text.index(t)) for t in TERMS if t in text)
        post = Post(id="1", text=text, aspects=aspects)
        pictures = () if number is None else (picture(number),)
        given = polarity if prompt.takes_label else None
        request = prompting.render(prompt, post, aspects[term], {}, pictures, label=given)
        said = Opinion(by="gold", aspect=aspects[term], polarity=polarity, explanation=reason)
        question = Question(Seen(0, post, pictures), prompt, aspects[term], {}, request, {})
        answer = prompting.target(prompt, [said])
        weight = more.get("weight", 1.0)
        told = {k: more[k] for k in ("task", "factor", "learn", "probs") if k in more}
        return Row(f"here/{aspects[term].term}", question, answer, polarity, weight, **told)

    def post(self, terms=(0, 1, 2), **more):
        """The rows of one post, encoded; each has a reason of another length."""
        kinds = list(Polarity)
        return [
            self.encoder.encode(self.row(i, kinds[i % 3], LONG[: 4 + 11 * i], **more))
            for i in terms
        ]

    def lines(self, *posts, together=True):
        """The lines of some posts: one each, or one a row."""
        return [s for p in posts for s in (joined(p) if together else [alone(r) for r in p])]

    def batch(self, lines, loss=None, classes=()):
        weigher = Weigher.of(loss or Loss(), classes)
        shown = [line.rows[0] for line in lines if line.rows[0].asked]
        return collate(
            lines,
            stacked([self.encoder.tensors(r) for r in shown]),
            weigher,
            weigher.totals(rows_of(lines)),
            pad=self.encoder.pad,
            positions="position_ids" in facts.takes(self.model),
        )

    def losses(self, batch):
        """The loss of a batch as the loop computes it."""
        self.head.at(batch.lines, batch.places)
        logits = self.head.taken(self.model(**batch.inputs, use_cache=False).logits)
        soft = batch.soft_ids, batch.soft_weights
        return of_logits(logits, batch.targets, batch.weights, batch.fields, soft)

    def logits(self, batch):
        """The scores of every answer token."""
        with torch.no_grad():
            self.head.at(batch.lines, batch.places)
            return self.head.taken(self.model(**batch.inputs, use_cache=False).logits)

    def gradients(self, *batches):
        """Total loss of some batches and the gradient of every weight."""
        self.model.zero_grad()
        total = 0.0
        for batch in batches:
            loss = self.losses(batch).total
            loss.backward()
            total += float(loss.detach())
        return total, {
            n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None
        }


def norm(gradients):
    return float(torch.stack([g.norm() for g in gradients.values()]).norm())


def apart(a, b):
    """The largest difference of two sets of gradients."""
    assert a.keys() == b.keys()
    return max(float((a[n] - b[n]).abs().max()) for n in a)
