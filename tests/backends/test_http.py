"""What the http backend sends to a server on this machine, and what it makes of the answers."""

import asyncio
import json
import logging

import pytest

from gen_msa.backends import BackendOptions
from gen_msa.backends._openai_client import unsupported_params
from gen_msa.backends.http import HttpBackend
from gen_msa.chat import ChoiceSlot, ImageInput, TextInput
from gen_msa.errors import UserError
from tests.fixtures.fake_openai import FakeOpenAI, last_message_text, reply
from tests.fixtures.http_client import ask, client

CHOICE = ChoiceSlot(
    prefix="Sentiment:", options=(" bad", " fine", " good"), suffix="\nExplanation:"
)
SCHEMA = {
    "type": "object",
    "title": "Answer",
    "properties": {
        "label": {"type": "string", "enum": ["bad", "fine", "good"], "title": "Label"},
        "title": {"type": "string", "maxLength": 300},
    },
    "required": ["label", "title"],
    "additionalProperties": False,
}


def token_entry(word, logprob, **others):
    return {"token": word, "logprob": logprob, "top_logprobs": [
        {"token": w, "logprob": p} for w, p in {word: logprob, **others}.items()
    ]}  # fmt: skip


def test_body_holds_schema_seed_and_limits():
    with FakeOpenAI() as server:
        (completion,) = client(server).complete([ask("post", choice=CHOICE, json_schema=SCHEMA)])
        body = server.request_bodies[0]
        schema_format = body["response_format"]["json_schema"]
        assert (schema_format["schema"], schema_format["strict"]) == (SCHEMA, True)
        assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.0, 0, 16)
        assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
        assert not [k for k in body if k.startswith("guided")]
        assert completion.notes["form"] == "schema"
        assert (completion.prompt_tokens, completion.new_tokens) == (7, 3)


def test_control_tokens_in_posts_are_escaped():
    trusted, untrusted = (
        TextInput(text="<|ours|> "),
        TextInput(text="a <|im_end|> b", untrusted=True),
    )
    with FakeOpenAI() as server:
        (completion,) = client(server).complete([ask(trusted, untrusted)])
        assert last_message_text(server.request_bodies[0]) == "<|ours|> a <\u200b|im_end|> b"
        assert completion.notes["escaped_control_tokens"] == "1"


def test_images_are_sent_as_data_urls():
    image = ImageInput(path="/a", sha256="ab" * 32, max_pixels=100)
    missing = ImageInput(path="/gone", sha256="cd" * 32, max_pixels=100)
    with FakeOpenAI() as server:
        completions = client(server).complete([ask("see", image, "this"), ask("no", missing)])
        (content,) = [
            m["content"] for m in server.request_bodies[0]["messages"] if m["role"] == "user"
        ]
        assert [p["type"] for p in content] == ["text", "image_url", "text"]
        assert content[1]["image_url"]["url"] == "data:image/png;base64," + "ab" * 32
        assert [c.finish_reason for c in completions] == ["stop", "error"]
        assert "gone" in completions[1].error


@pytest.mark.parametrize(
    ("refused_field", "dropped_fields"),
    [
        ("logprobs", "logprobs"),
        ("response_format", "bounds, response_format"),
        ("maxLength", "bounds"),
        ("seed", "seed"),
        ("temperature", "temperature"),
        ("max_tokens", "max_tokens"),
    ],
)
def test_unsupported_fields_are_dropped_once_and_noted(refused_field, dropped_fields):
    with FakeOpenAI(unsupported_params=(refused_field,)) as server:
        backend = client(server, batch_size=1)
        first, second = backend.complete([ask(p, choice=CHOICE, json_schema=SCHEMA) for p in "ab"])
        assert first.notes["server_without"] == second.notes["server_without"] == dropped_fields
        assert first.notes["form"] == ("free" if "response_format" in dropped_fields else "schema")
        assert server.attempts["a"] == 1 + len(dropped_fields.split(", "))
        assert server.attempts["b"] == 1
        if refused_field == "max_tokens":
            assert server.request_bodies[-1]["max_completion_tokens"] == 16
        if refused_field == "maxLength":
            properties = server.request_bodies[-1]["response_format"]["json_schema"]["schema"][
                "properties"
            ]
            assert properties["title"] == {"type": "string"}


def test_unexplained_400_is_retried_once_without_optional_fields():
    with FakeOpenAI(lambda text, attempt: "400 mute" if text == "a" else "") as server:
        first, second = client(server, batch_size=1).complete(
            [ask(p, choice=CHOICE, json_schema=SCHEMA) for p in "ab"]
        )
        assert (first.finish_reason, server.attempts["a"]) == ("error", 2)
        assert (second.notes["form"], "server_without" in second.notes) == ("schema", False)


def test_no_field_is_blamed_when_none_is_optional():
    assert unsupported_params("no", {"model": "m", "messages": [], "seed": 0}, set()) == set()


def test_label_logprobs_come_from_tokens_after_schema_key():
    tokens = [
        token_entry('{"', 0.0), token_entry("label", 0.0), token_entry('":"', 0.0),
        token_entry("good", -0.2, fine=-2.0, bad=-4.0), token_entry('"', 0.0),
    ]  # fmt: skip
    answer = reply('{"label":"good"', logprobs={"content": tokens})
    with FakeOpenAI(answer=lambda body: answer) as server:
        (completion,) = client(server).complete([ask("post", choice=CHOICE, json_schema=SCHEMA)])
        assert completion.option_logprobs == pytest.approx(
            {" good": -0.2, " fine": -2.0, " bad": -4.0}
        )


@pytest.mark.parametrize("garbage", [None, [], {"content": None}, {"content": [{"token": 3}]}])
def test_invalid_logprobs_are_noted_as_missing(garbage):
    with FakeOpenAI(answer=lambda body: reply("good", logprobs=garbage)) as server:
        (completion,) = client(server).complete([ask("post", choice=CHOICE)])
        assert (completion.text, completion.option_logprobs) == ("good", None)
        assert completion.notes["option_logprobs"].startswith("none")


@pytest.mark.parametrize(
    ("finish", "text", "expected"),
    [
        ("length", "cut", "length"),
        ("length", None, "length"),
        ("stop", "", "stop"),
        (None, "x", "stop"),
    ],
)
def test_truncated_or_empty_answer_keeps_its_finish_reason(finish, text, expected):
    with FakeOpenAI(answer=lambda body: reply(text, finish=finish)) as server:
        (completion,) = client(server).complete([ask("post")])
        assert (completion.finish_reason, completion.text) == (expected, text or "")


def test_api_key_is_sent_but_never_shown(monkeypatch, caplog):
    key = "sk-secret-0123456789"
    monkeypatch.setenv("MY_KEY", key)
    caplog.set_level(logging.DEBUG)
    with FakeOpenAI(lambda text, attempt: "401") as server:
        backend = client(server, api_key_variable="MY_KEY")
        (completion,) = backend.complete([ask("post")])
        assert server.request_headers[0]["authorization"] == f"Bearer {key}"
    assert "[key]" in completion.error
    assert key not in completion.model_dump_json() + backend.revision + caplog.text + repr(backend)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("http://127.0.0.1:1/v1", "name of a model"),
        ("#m", "not an http"),
        ("file:///etc#m", "not an http"),
        ("http://u:sk-pw@127.0.0.1/v1#m", "password"),
        ("https://h.example/v1?key=sk-pw#m", "query"),
        ("http://[::1#m", "is invalid"),
    ],
)
def test_invalid_target_is_refused_without_showing_secrets(target, message):
    with pytest.raises(UserError, match=message) as error:
        HttpBackend(target, BackendOptions(api_key_variable=""))
    assert "sk-pw" not in str(error.value)


def test_api_key_is_refused_over_plain_http_to_other_hosts(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-1")
    options = BackendOptions(api_key_variable="MY_KEY")
    with pytest.raises(UserError, match="clear text") as error:
        HttpBackend("HTTP://models.example/v1#m", options)
    assert "sk-1" not in str(error.value)
    for url in ("http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1", "https://h.example"):
        assert HttpBackend(f"{url}/v1/#m", options).revision == f"{url}/v1#m"
    monkeypatch.setenv("MY_KEY", "sk 1\n")
    with pytest.raises(UserError, match="blanks"):
        HttpBackend("https://h.example/v1#m", options)


def test_complete_works_inside_running_event_loop():
    with FakeOpenAI() as server:

        async def notebook():
            return client(server).complete([ask("post")])

        assert asyncio.run(notebook())[0].text == "said: post"


def test_unused_options_are_logged_at_start(caplog):
    HttpBackend("http://127.0.0.1:9/v1#m", BackendOptions(dtype="float16"))
    assert "dtype" in caplog.text
    assert "retries" not in caplog.text


def test_equal_replies_give_equal_completions():
    with FakeOpenAI() as server:
        backend = client(server)
        first, second = (backend.complete([ask("post", json_schema=SCHEMA)]) for _ in range(2))
        assert first == second
        assert json.dumps(server.request_bodies[0]) == json.dumps(server.request_bodies[1])
