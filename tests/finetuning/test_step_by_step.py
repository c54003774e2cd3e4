"""Whole runs with a reason task: what lambda does, what is learned, and what reading costs."""

from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from gen_msa import prompting
from gen_msa.errors import UserError
from gen_msa.finetuning.loop import Run
from gen_msa.finetuning.loss import FIELDS
from gen_msa.readers import ReaderSettings, make
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post
from tests.finetuning.running import base, log, recipe, weights

WORDS = {Polarity.POSITIVE: "great", Polarity.NEGATIVE: "awful", Polarity.NEUTRAL: "there"}
SCREEN, SOUP = "screen", "soup"


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return base(tmp_path_factory.mktemp("models") / "llama")


def example(i):
    """A post of two aspects; the teacher explains the first of each."""
    one, two = (list(Polarity)[(i + k) % 3] for k in range(2))
    text = f"The screen is {WORDS[one]} and the soup is {WORDS[two]}, day {i}"
    aspects = tuple(Aspect(term=t, start=text.index(t)) for t in (SCREEN, SOUP))
    gold = [
        Opinion(by="gold", aspect=a, polarity=p) for a, p in zip(aspects, (one, two), strict=True)
    ]
    reason = f"It says {WORDS[one]} of the screen."
    taught = Opinion(by="big:teacher", aspect=aspects[0], polarity=one, explanation=reason)
    return Example(post=Post(id=str(i), text=text, aspects=aspects), opinions=(*gold, taught))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.jsonl"
    path.write_text("".join(example(i).model_dump_json() + "\n" for i in range(6)), "utf-8")
    return path


def run(llama, teacher, out, *, factor=None, **given):
    """A finished run, label alone without a `factor`; the same posts in the same batches."""
    also = {"prompt": "reader/reason_first", "learn": ["explanation", "form"], "weight": factor}
    data = {
        "source": str(teacher),
        "prompt": "reader/brief_label",
        "reasons": "by:big:teacher",
        "also": [] if factor is None else [also],
    }
    # By length other posts would meet, and reasons are part of a length.
    levers = {"bucketing": False, "prefetch": 0}
    reading = {"cues": {}, "reask_prompt": ""}
    said = {"data": [data], "levers": levers, "reading": reading, **given}
    made = Run(recipe(llama, out, **said))
    made.tell()
    made.train()
    return made


def apart(a, b):
    return max(float((x - y).abs().max()) for x, y in zip(a.values(), b.values(), strict=True))


def test_lambda_0_is_training_on_labels_alone_and_any_other_is_not(
    llama, teacher, tmp_path, capsys
):
    label, none, some = (
        # Adam makes a step of any gradient, be it of rounding alone: a small rate keeps that small.
        run(llama, teacher, tmp_path / name, factor=factor, learning_rate=1e-4)
        for name, factor in (("label", None), ("none", 0.0), ("some", 0.5))
    )
    assert [len(r.prepared.lines[0][0].rows) for r in (label, none, some)] == [2, 3, 3]
    alone = weights(label)
    assert apart(alone, weights(none)) <= 1e-6
    assert apart(alone, weights(some)) > 5e-5
    assert log(tmp_path / "none", "loss") == pytest.approx(
        log(tmp_path / "label", "loss"), rel=1e-5
    )
    told = capsys.readouterr().err
    assert "reader/reason_first: 6 rows beside the first task; 6 without a reason" in told


def test_one_sequence_a_post_and_two_train_the_same_weights(llama, teacher, tmp_path):
    on = run(llama, teacher, tmp_path / "on", factor=0.5, max_steps=2)
    off = run(
        llama, teacher, tmp_path / "off", factor=0.5, max_steps=2,
        levers={"bucketing": False, "prefetch": 0, "branches": False},
    )  # fmt: skip
    assert [len(lines) for r in (on, off) for lines in r.prepared.lines[:1]] == [1, 3]
    losses = [log(tmp_path / name, "loss") for name in ("on", "off")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_reason_task_is_learned_and_moves_the_weights_the_label_task_uses(
    llama, teacher, tmp_path
):
    made = Run(run(llama, teacher, tmp_path / "a", factor=1.0, max_steps=16, save_steps=16).recipe)
    batches = made.planner.batches(next(made.planner.left(0)))
    for batch in batches:  # the label task is put to silence
        batch.weights = batch.weights * (batch.fields == FIELDS.index("explanation"))
    made.stepper.backward(batches)
    moved = {n for n, p in made.model.named_parameters() if p.grad is not None and p.grad.any()}
    layers = {n.partition("layers.")[2].partition(".")[0] for n in moved}
    assert len(layers) == made.model.config.num_hidden_layers
    found = log(tmp_path / "a", "loss_explanation")
    assert found[-1] < 0.9 * found[0]


def test_read_the_label_comes_alone_and_the_reason_on_request(llama, teacher, tmp_path):
    made = run(llama, teacher, tmp_path / "out", factor=1.0)
    posts = [example(i).post for i in range(3)]
    given = {"reader": f"transformers:{llama}@{made.adapter}", "backend": {"device": "cpu"}}
    label, reason = (
        answered(make(ReaderSettings(**given, **asked), Path()), posts)
        for asked in ({}, {"prompt": "reader/reason_first"})
    )
    assert len(label.opinions) == len(reason.opinions) == 6
    # A model of random numbers ends no answer by itself: the prompt's own limit does.
    most = prompting.load("reader/brief_label").max_new_tokens
    assert 0 < max(label.tokens) <= most == 8
    assert all(o.polarity and not o.explanation for o in label.opinions)
    assert all((o.raw or "").startswith(f"Sentiment: {o.polarity}") for o in label.opinions)
    assert {o.how["prompt"].partition("@")[0] for o in label.opinions} == {"reader/brief_label"}
    assert {o.how["prompt"].partition("@")[0] for o in reason.opinions} == {"reader/reason_first"}
    assert max(reason.tokens) > max(label.tokens)
    with pytest.raises(UserError, match="was trained with"):
        make(ReaderSettings(prompt="reader/full", **given), Path())


class Answered(NamedTuple):
    opinions: list
    tokens: list


def answered(reader, posts):
    """What a reader says of posts, and how many tokens each answer took."""
    counting = Counting(reader.backend)
    said = [o for r in reader.over(counting).read(posts) for o in r.opinions]
    return Answered(said, counting.tokens)


class Counting:
    """A backend that counts the tokens it is answered with."""

    def __init__(self, backend):
        self._backend, self.tokens = backend, []

    def complete(self, requests):
        found = self._backend.complete(requests)
        self.tokens += [c.new_tokens for c in found]
        return found

    def __getattr__(self, name):
        return getattr(self._backend, name)
