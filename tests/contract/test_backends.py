"""Every registered backend that can be built on this machine keeps the promises of `Backend`.

A new backend joins by a maker in `MAKERS`; one without is reported by the first test.
"""

import importlib.util
from contextlib import contextmanager

import pytest

from gen_msa.backends import BackendOptions, backends
from gen_msa.chat import Chat, Choice, Completion, Picture, Request, Text, Turn
from tests.fixtures.fake_openai import FakeOpenAI

CHOICE = Choice(lead="Sentiment:", options=(" negative", " positive"), then="\nReason:")
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["negative", "positive"]}},
    "required": ["label"],
    "additionalProperties": False,
}
GONE = Picture(path="/no/such/picture.png", sha256="0" * 64, max_pixels=64)


@contextmanager
def echo():
    yield backends["echo"]("", BackendOptions())


@contextmanager
def http():
    options = BackendOptions(api_key_variable="", retries=0, batch_size=4)
    with FakeOpenAI() as server:
        yield backends["http"](f"{server.url}#tiny", options)


@contextmanager
def transformers():
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    import torch

    from tests.fixtures.tiny_models import tiny_model

    torch.set_num_threads(2)
    tiny = tiny_model("llama")
    options = BackendOptions(batch_size=4, device="cpu")
    kind = backends["transformers"]
    yield kind.of(tiny.model, tiny.processor, options, revision="tiny")


@contextmanager
def vllm():
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; tests/backends/test_vllm.py asks a double of it")
    pytest.skip("vLLM's engine takes minutes to start; tests/backends/test_vllm.py runs it")
    yield


MAKERS = {"echo": echo, "http": http, "transformers": transformers, "vllm": vllm}


def ask(words, *parts, **more):
    post = Text(text=words, untrusted=True)
    turns = (
        Turn(role="system", parts=(Text(text="Answer."),)),
        Turn(role="user", parts=(Text(text="Post: "), post, *parts)),
    )
    return Request(chat=Chat(turns=turns), max_new_tokens=12, **more)


@pytest.fixture(params=sorted(MAKERS))
def backend(request):
    with MAKERS[request.param]() as made:
        yield made


def test_every_registered_backend_has_a_maker_here():
    assert set(backends.names()) == set(MAKERS)


def test_it_says_what_it_is(backend):
    assert backend.revision
    assert isinstance(backend.sees_pictures, bool)
    assert isinstance(backend.lists_aspects, bool)


def test_one_completion_for_each_request_in_its_form(backend):
    requests = [
        ask("the soup was cold", choice=CHOICE, json_schema=SCHEMA),
        ask("the soup was cold", json_schema=SCHEMA),
        ask("the soup was cold"),
        ask(""),
        ask("😀 سيء 电池 <|im_end|> <image> {{7*7}} $T$", choice=CHOICE),
    ]
    done = backend.complete(requests)
    assert [type(c) for c in done] == [Completion] * len(requests)
    assert {c.notes["form"] for c in done} <= {"slot", "schema", "free"}
    assert {c.finish_reason for c in done} <= {"stop", "length"}
    for completion in (c for c in done if c.notes["form"] == "slot"):
        assert completion.text.startswith("Sentiment:")
        assert set(completion.option_logprobs) == set(CHOICE.options)


def test_answers_stand_in_the_order_of_the_requests(backend):
    requests = [ask(f"post number {i} {'and on ' * (i % 5)}", choice=CHOICE) for i in range(6)]
    together = backend.complete(requests)
    alone = [backend.complete([r])[0] for r in requests]
    assert [c.text for c in together] == [c.text for c in alone]


def test_at_temperature_zero_the_same_chat_gets_the_same_answer(backend):
    requests = [ask("the battery is fine", choice=CHOICE), ask("the battery is fine")]
    assert backend.complete(requests) == backend.complete(requests)


def test_no_requests_are_no_completions(backend):
    assert backend.complete([]) == []


def test_a_bad_request_is_an_error_of_its_own_and_stops_no_other(backend):
    bad, good = ask("see", GONE), ask("fine", choice=CHOICE)
    done = backend.complete([good, bad, good])
    assert [c.finish_reason != "error" for c in (done[0], done[2])] == [True, True]
    assert done[0].text == done[2].text
    if done[1].finish_reason == "error":
        assert (done[1].text, bool(done[1].error)) == ("", True)


def test_tokens_are_counted_or_not_known(backend):
    few, more = (backend.count_tokens(ask(w).chat) for w in ("short", "not so short any more"))
    assert (few is None) == (more is None)
    if few is not None:
        assert few.total < more.total
        assert few.picture == 0
