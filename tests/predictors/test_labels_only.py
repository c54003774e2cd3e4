"""Without explanations a prompted model writes nothing after the label; the label is the same."""

from pathlib import Path

import pytest

from gen_msa import prompting
from gen_msa.backends import BackendOptions
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.predictors import PredictorSettings, make
from gen_msa.prompting.rendering import answer_schema
from gen_msa.types import Aspect, Post
from tests.fixtures.tiny_models import tiny_model

SOUP, WAITER = Aspect(term="soup", start=4), Aspect(term="waiter", start=26)
POSTS = [
    Post(id=str(i), text=f"The soup was cold but the waiter kind #{i}", aspects=(SOUP, WAITER))
    for i in range(3)
]


def predict(**settings):
    return make(PredictorSettings(model="echo", cues={}, **settings), Path()).predict(POSTS)


@pytest.mark.parametrize("prompt", ["predict/full", "predict/shots", "predict/brief"])
def test_labels_stay_and_explanations_go(prompt):
    full, labels = predict(prompt=prompt), predict(prompt=prompt, explanations=False)
    for with_explanations, without in zip(full, labels, strict=True):
        for a, b in zip(with_explanations.opinions, without.opinions, strict=True):
            assert (a.polarity, a.probs, a.status) == (b.polarity, b.probs, b.status)
            assert a.explanation
            assert b.explanation is None
            assert b.evidence == ()
            assert len(b.raw) < len(a.raw)


def test_request_asks_for_a_label_alone():
    prompt = prompting.load_prompt("predict/full")
    request = prompting.render(prompt, POSTS[0], SOUP, {}, ())
    label_request = prompting.without_explanation(prompt, request)
    assert request.choice.suffix
    assert label_request.choice.suffix == ""
    assert label_request.choice.options == request.choice.options
    assert list(label_request.json_schema["properties"]) == ["sentiment"]
    assert label_request.quote_source == ""
    assert label_request.chat == request.chat
    assert label_request.json_schema == answer_schema(
        "aspect", (("label", "Sentiment"),), ("negative", "neutral", "positive"), 1
    )


def test_explanation_that_decides_the_label_stays():
    prompt = prompting.load_prompt("predict/reason_first")
    request = prompting.render(prompt, POSTS[0], SOUP, {}, ())
    assert prompting.without_explanation(prompt, request) == request


def test_language_model_generates_no_token_after_the_label():
    model, processor = tiny_model("llama")
    backend = TransformersBackend.from_model(model, processor, BackendOptions(), "tiny")
    prompt = prompting.load_prompt("predict/full")
    request = prompting.render(prompt, POSTS[0], SOUP, {}, ())
    label_request = prompting.without_explanation(prompt, request)
    full, label = backend.complete([request, label_request])
    assert label.text in {f"Sentiment: {p}" for p in ("negative", "neutral", "positive")}
    assert len(full.text) > len(label.text)
    assert full.text.startswith(label.text)
