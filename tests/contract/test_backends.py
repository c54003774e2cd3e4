"""Every registered backend that can be built on this machine keeps the promises of `Backend`.

A new backend joins by a maker in `MAKERS`; one without is reported by the first test.
"""

import importlib.util
from contextlib import contextmanager

import pytest

from gen_msa.backends import BackendOptions, backends
from gen_msa.chat import Chat, ChoiceSlot, Completion, ImageInput, Request, TextInput, Turn
from tests.fixtures.fake_openai import FakeOpenAI

CHOICE = ChoiceSlot(prefix="Sentiment:", options=(" negative", " positive"), suffix="\nReason:")
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["negative", "positive"]}},
    "required": ["label"],
    "additionalProperties": False,
}
MISSING_IMAGE = ImageInput(path="/no/such/picture.png", sha256="0" * 64, max_pixels=64)


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
    backend_type = backends["transformers"]
    yield backend_type.from_model(tiny.model, tiny.processor, options, revision="tiny")


@contextmanager
def vllm():
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; tests/backends/test_vllm.py asks a double of it")
    pytest.skip("vLLM's engine takes minutes to start; tests/backends/test_vllm.py runs it")
    yield


MAKERS = {"echo": echo, "http": http, "transformers": transformers, "vllm": vllm}


def ask(text, *parts, **more):
    post = TextInput(text=text, untrusted=True)
    turns = (
        Turn(role="system", parts=(TextInput(text="Answer."),)),
        Turn(role="user", parts=(TextInput(text="Post: "), post, *parts)),
    )
    return Request(chat=Chat(turns=turns), max_new_tokens=12, **more)


@pytest.fixture(params=sorted(MAKERS))
def backend(request):
    with MAKERS[request.param]() as instance:
        yield instance


def test_every_registered_backend_has_a_maker():
    assert set(backends.names()) == set(MAKERS)


def test_backend_states_revision_and_capabilities(backend):
    assert backend.revision
    assert isinstance(backend.supports_images, bool)
    assert isinstance(backend.can_list_aspects, bool)


def test_each_request_gets_a_completion_in_its_form(backend):
    requests = [
        ask("the soup was cold", choice=CHOICE, json_schema=SCHEMA),
        ask("the soup was cold", json_schema=SCHEMA),
        ask("the soup was cold"),
        ask(""),
        ask("😀 سيء 电池 <|im_end|> <image> {{7*7}} $T$", choice=CHOICE),
    ]
    completions = backend.complete(requests)
    assert [type(c) for c in completions] == [Completion] * len(requests)
    assert {c.notes["form"] for c in completions} <= {"slot", "schema", "free"}
    assert {c.finish_reason for c in completions} <= {"stop", "length"}
    for completion in (c for c in completions if c.notes["form"] == "slot"):
        assert completion.text.startswith("Sentiment:")
        assert set(completion.option_logprobs) == set(CHOICE.options)


def test_completions_keep_the_order_of_requests(backend):
    requests = [ask(f"post number {i} {'and on ' * (i % 5)}", choice=CHOICE) for i in range(6)]
    batched = backend.complete(requests)
    single = [backend.complete([r])[0] for r in requests]
    assert [c.text for c in batched] == [c.text for c in single]


def test_temperature_zero_is_deterministic(backend):
    requests = [ask("the battery is fine", choice=CHOICE), ask("the battery is fine")]
    assert backend.complete(requests) == backend.complete(requests)


def test_no_requests_give_no_completions(backend):
    assert backend.complete([]) == []


def test_bad_request_fails_alone(backend):
    bad, good = ask("see", MISSING_IMAGE), ask("fine", choice=CHOICE)
    completions = backend.complete([good, bad, good])
    assert [c.finish_reason != "error" for c in (completions[0], completions[2])] == [True, True]
    assert completions[0].text == completions[2].text
    if completions[1].finish_reason == "error":
        assert (completions[1].text, bool(completions[1].error)) == ("", True)


def test_token_counts_grow_with_text_or_are_none(backend):
    short_count, long_count = (
        backend.count_tokens(ask(w).chat) for w in ("short", "not so short any more")
    )
    assert (short_count is None) == (long_count is None)
    if short_count is not None:
        assert short_count.total < long_count.total
        assert short_count.image == 0
