"""Complete runs with a rationale task: the effect of lambda, what is learned, inference cost."""

from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from gen_msa import prompting
from gen_msa.errors import UserError
from gen_msa.finetuning.loop import FinetuneRun
from gen_msa.finetuning.loss import FIELDS
from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post
from tests.finetuning.run_recipes import build_recipe, read_log, save_tiny_model, trained_weights

OPINION_WORDS = {Polarity.POSITIVE: "great", Polarity.NEGATIVE: "awful", Polarity.NEUTRAL: "there"}
SCREEN, SOUP = "screen", "soup"


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


def example(i):
    """A post of two aspects; the teacher explains the first one."""
    screen_polarity, soup_polarity = (list(Polarity)[(i + k) % 3] for k in range(2))
    screen_word, soup_word = OPINION_WORDS[screen_polarity], OPINION_WORDS[soup_polarity]
    text = f"The screen is {screen_word} and the soup is {soup_word}, day {i}"
    aspects = tuple(Aspect(term=t, start=text.index(t)) for t in (SCREEN, SOUP))
    gold = [
        Opinion(annotator="gold", aspect=a, polarity=p)
        for a, p in zip(aspects, (screen_polarity, soup_polarity), strict=True)
    ]
    rationale = f"It says {screen_word} of the screen."
    teacher_opinion = Opinion(
        annotator="big:teacher", aspect=aspects[0], polarity=screen_polarity, explanation=rationale
    )
    return Example(
        post=Post(id=str(i), text=text, aspects=aspects), opinions=(*gold, teacher_opinion)
    )


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.jsonl"
    path.write_text("".join(example(i).model_dump_json() + "\n" for i in range(6)), "utf-8")
    return path


def train_run(llama, teacher_file, out, *, task_weight=None, **overrides):
    """A finished run, without the rationale task if `task_weight` is None; equal batches."""
    extra_task = {
        "prompt": "predict/reason_first",
        "learn": ["explanation", "form"],
        "weight": task_weight,
    }
    data = {
        "source": str(teacher_file),
        "prompt": "predict/brief_label",
        "rationales": "from_annotator:big:teacher",
        "extra_tasks": [] if task_weight is None else [extra_task],
    }
    # Bucketing would batch other posts, because rationales change their lengths.
    optimizations = {"bucketing": False, "prefetch": 0}
    inference = {"cues": {}, "reask_prompt": ""}
    fields = {"data": [data], "optimizations": optimizations, "inference": inference, **overrides}
    finished_run = FinetuneRun(build_recipe(llama, out, **fields))
    finished_run.log_start()
    finished_run.train()
    return finished_run


def max_difference(a, b):
    return max(float((x - y).abs().max()) for x, y in zip(a.values(), b.values(), strict=True))


def test_zero_task_weight_equals_label_only_training(llama, teacher_file, tmp_path, capsys):
    label_only, zero_weight, weighted = (
        # Adam takes a step for any gradient, even a rounding error: a small rate keeps it small.
        train_run(llama, teacher_file, tmp_path / name, task_weight=task_weight, learning_rate=1e-4)
        for name, task_weight in (("label", None), ("zero", 0.0), ("weighted", 0.5))
    )
    assert [len(r.prepared.sequences[0][0].rows) for r in (label_only, zero_weight, weighted)] == [
        2,
        3,
        3,
    ]
    label_weights = trained_weights(label_only)
    assert max_difference(label_weights, trained_weights(zero_weight)) <= 1e-6
    assert max_difference(label_weights, trained_weights(weighted)) > 5e-5
    assert read_log(tmp_path / "zero", "loss") == pytest.approx(
        read_log(tmp_path / "label", "loss"), rel=1e-5
    )
    output = capsys.readouterr().err
    assert "predict/reason_first: 6 rows besides the main task; 6 without a rationale" in output


def test_packed_and_separate_tasks_train_alike(llama, teacher_file, tmp_path):
    packed = train_run(llama, teacher_file, tmp_path / "on", task_weight=0.5, max_steps=2)
    separate = train_run(
        llama, teacher_file, tmp_path / "off", task_weight=0.5, max_steps=2,
        optimizations={"bucketing": False, "prefetch": 0, "prefix_packing": False},
    )  # fmt: skip
    assert [
        len(sequences) for r in (packed, separate) for sequences in r.prepared.sequences[:1]
    ] == [1, 3]
    losses = [read_log(tmp_path / name, "loss") for name in ("on", "off")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_rationale_task_is_learned_in_shared_weights(llama, teacher_file, tmp_path):
    finished_run = FinetuneRun(
        train_run(
            llama, teacher_file, tmp_path / "a", task_weight=1.0, max_steps=16, save_steps=16
        ).recipe
    )
    batches = finished_run.sampler.step_batches(next(finished_run.sampler.remaining_steps(0)))
    for batch in batches:  # mutes the label task
        batch.weights = batch.weights * (batch.fields == FIELDS.index("explanation"))
    finished_run.train_step.backward(batches)
    params_with_grad = {
        n for n, p in finished_run.model.named_parameters() if p.grad is not None and p.grad.any()
    }
    layers = {n.partition("layers.")[2].partition(".")[0] for n in params_with_grad}
    assert len(layers) == finished_run.model.config.num_hidden_layers
    losses = read_log(tmp_path / "a", "loss_explanation")
    assert losses[-1] < 0.9 * losses[0]


def test_inference_gives_label_only_unless_explanation_is_requested(llama, teacher_file, tmp_path):
    finished_run = train_run(llama, teacher_file, tmp_path / "out", task_weight=1.0)
    posts = [example(i).post for i in range(3)]
    settings = {
        "model": f"transformers:{llama}@{finished_run.adapter_folder}",
        "backend": {"device": "cpu"},
    }
    label_answers, explained_answers = (
        predict_answers(make(PredictorSettings(**settings, **prompt_settings), Path()), posts)
        for prompt_settings in ({}, {"prompt": "predict/reason_first"})
    )
    assert len(label_answers.opinions) == len(explained_answers.opinions) == 6
    # A random model ends no answer by itself: the limit of the prompt does.
    max_tokens = prompting.load_prompt("predict/brief_label").max_new_tokens
    assert 0 < max(label_answers.tokens) <= max_tokens == 8
    assert all(o.polarity and not o.explanation for o in label_answers.opinions)
    assert all((o.raw or "").startswith(f"Sentiment: {o.polarity}") for o in label_answers.opinions)
    assert {o.provenance["prompt"].partition("@")[0] for o in label_answers.opinions} == {
        "predict/brief_label"
    }
    assert {o.provenance["prompt"].partition("@")[0] for o in explained_answers.opinions} == {
        "predict/reason_first"
    }
    assert max(explained_answers.tokens) > max(label_answers.tokens)
    with pytest.raises(UserError, match="was trained with"):
        make(PredictorSettings(prompt="predict/full", **settings), Path())


class Answers(NamedTuple):
    opinions: list
    tokens: list


def predict_answers(predictor, posts):
    """The opinions of a predictor, and the tokens of each answer."""
    backend = CountingBackend(predictor.backend)
    opinions = [o for r in predictor.with_backend(backend).predict(posts) for o in r.opinions]
    return Answers(opinions, backend.tokens)


class CountingBackend:
    """A backend that counts the tokens of its answers."""

    def __init__(self, backend):
        self._backend, self.tokens = backend, []

    def complete(self, requests):
        completions = self._backend.complete(requests)
        self.tokens += [c.new_tokens for c in completions]
        return completions

    def __getattr__(self, name):
        return getattr(self._backend, name)
