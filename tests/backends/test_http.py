"""What the http backend sends to a server on this machine, and what it makes of the answers."""

import asyncio
import json
import logging

import pytest

from gen_msa.backends import BackendOptions
from gen_msa.backends._openai import blamed
from gen_msa.backends.http import Http
from gen_msa.chat import Choice, Picture, Text
from gen_msa.errors import UserError
from tests.fixtures.fake_openai import FakeOpenAI, reply, words_of
from tests.fixtures.http_client import ask, client

CHOICE = Choice(lead="Sentiment:", options=(" bad", " fine", " good"), then="\nExplanation:")
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


def token(word, logprob, **others):
    return {"token": word, "logprob": logprob, "top_logprobs": [
        {"token": w, "logprob": p} for w, p in {word: logprob, **others}.items()
    ]}  # fmt: skip


def test_the_body_holds_schema_seed_and_limits_and_nothing_guided():
    with FakeOpenAI() as server:
        (done,) = client(server).complete([ask("post", choice=CHOICE, json_schema=SCHEMA)])
        sent = server.seen[0]
        shape = sent["response_format"]["json_schema"]
        assert (shape["schema"], shape["strict"]) == (SCHEMA, True)
        assert (sent["temperature"], sent["seed"], sent["max_tokens"]) == (0.0, 0, 16)
        assert (sent["logprobs"], sent["top_logprobs"]) == (True, 20)
        assert not [k for k in sent if k.startswith("guided")]
        assert done.notes["form"] == "schema"
        assert (done.prompt_tokens, done.new_tokens) == (7, 3)


def test_words_of_a_post_are_neutralised_and_ours_are_not():
    ours, theirs = Text(text="<|ours|> "), Text(text="a <|im_end|> b", untrusted=True)
    with FakeOpenAI() as server:
        (done,) = client(server).complete([ask(ours, theirs)])
        assert words_of(server.seen[0]) == "<|ours|> a <\u200b|im_end|> b"
        assert done.notes["neutralised"] == "1"


def test_pictures_travel_as_data_urls_in_their_place():
    picture = Picture(path="/a", sha256="ab" * 32, max_pixels=100)
    gone = Picture(path="/gone", sha256="cd" * 32, max_pixels=100)
    with FakeOpenAI() as server:
        done = client(server).complete([ask("see", picture, "this"), ask("no", gone)])
        (content,) = [m["content"] for m in server.seen[0]["messages"] if m["role"] == "user"]
        assert [p["type"] for p in content] == ["text", "image_url", "text"]
        assert content[1]["image_url"]["url"] == "data:image/png;base64," + "ab" * 32
        assert [c.finish_reason for c in done] == ["stop", "error"]
        assert "gone" in done[1].error


@pytest.mark.parametrize(
    ("refused", "dropped"),
    [
        ("logprobs", "logprobs"),
        ("response_format", "bounds, response_format"),
        ("maxLength", "bounds"),
        ("seed", "seed"),
        ("temperature", "temperature"),
        ("max_tokens", "max_tokens"),
    ],
)
def test_what_a_server_refuses_is_left_out_once_and_for_all_and_noted(refused, dropped):
    with FakeOpenAI(refuses=(refused,)) as server:
        backend = client(server, batch_size=1)
        one, two = backend.complete([ask(p, choice=CHOICE, json_schema=SCHEMA) for p in "ab"])
        assert one.notes["server_without"] == two.notes["server_without"] == dropped
        assert one.notes["form"] == ("free" if "response_format" in dropped else "schema")
        assert server.attempts["a"] == 1 + len(dropped.split(", "))
        assert server.attempts["b"] == 1
        if refused == "max_tokens":
            assert server.seen[-1]["max_completion_tokens"] == 16
        if refused == "maxLength":
            properties = server.seen[-1]["response_format"]["json_schema"]["schema"]["properties"]
            assert properties["title"] == {"type": "string"}


def test_a_400_without_a_reason_is_asked_once_more_plainly_and_not_remembered_if_in_vain():
    with FakeOpenAI(lambda words, attempt: "400 mute" if words == "a" else "") as server:
        one, two = client(server, batch_size=1).complete(
            [ask(p, choice=CHOICE, json_schema=SCHEMA) for p in "ab"]
        )
        assert (one.finish_reason, server.attempts["a"]) == ("error", 2)
        assert (two.notes["form"], "server_without" in two.notes) == ("schema", False)


def test_nothing_is_blamed_when_nothing_is_left_to_give_up():
    assert blamed("no", {"model": "m", "messages": [], "seed": 0}, set()) == set()


def test_label_probabilities_come_from_the_tokens_behind_the_schema_s_key():
    tokens = [
        token('{"', 0.0), token("label", 0.0), token('":"', 0.0),
        token("good", -0.2, fine=-2.0, bad=-4.0), token('"', 0.0),
    ]  # fmt: skip
    answer = reply('{"label":"good"', logprobs={"content": tokens})
    with FakeOpenAI(answer=lambda body: answer) as server:
        (done,) = client(server).complete([ask("post", choice=CHOICE, json_schema=SCHEMA)])
        assert done.option_logprobs == pytest.approx({" good": -0.2, " fine": -2.0, " bad": -4.0})


@pytest.mark.parametrize("garbage", [None, [], {"content": None}, {"content": [{"token": 3}]}])
def test_log_probabilities_that_cannot_be_read_are_said_to_be_missing(garbage):
    with FakeOpenAI(answer=lambda body: reply("good", logprobs=garbage)) as server:
        (done,) = client(server).complete([ask("post", choice=CHOICE)])
        assert (done.text, done.option_logprobs) == ("good", None)
        assert done.notes["option_logprobs"].startswith("none")


@pytest.mark.parametrize(
    ("finish", "text", "expected"),
    [
        ("length", "cut", "length"),
        ("length", None, "length"),
        ("stop", "", "stop"),
        (None, "x", "stop"),
    ],
)
def test_an_answer_cut_or_empty_is_passed_on_as_what_it_is(finish, text, expected):
    with FakeOpenAI(answer=lambda body: reply(text, finish=finish)) as server:
        (done,) = client(server).complete([ask("post")])
        assert (done.finish_reason, done.text) == (expected, text or "")


def test_the_key_is_sent_and_shown_nowhere(monkeypatch, caplog):
    key = "sk-secret-0123456789"
    monkeypatch.setenv("MY_KEY", key)
    caplog.set_level(logging.DEBUG)
    with FakeOpenAI(lambda words, attempt: "401") as server:
        backend = client(server, api_key_variable="MY_KEY")
        (done,) = backend.complete([ask("post")])
        assert server.headers[0]["authorization"] == f"Bearer {key}"
    assert "[key]" in done.error
    assert key not in done.model_dump_json() + backend.revision + caplog.text + repr(backend)


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("http://127.0.0.1:1/v1", "no model"),
        ("#m", "no http"),
        ("file:///etc#m", "no http"),
        ("http://u:sk-pw@127.0.0.1/v1#m", "password"),
        ("https://h.example/v1?key=sk-pw#m", "query"),
        ("http://[::1#m", "cannot be read"),
    ],
)
def test_targets_that_cannot_be_used_are_refused_at_start_without_their_secrets(target, word):
    with pytest.raises(UserError, match=word) as error:
        Http(target, BackendOptions(api_key_variable=""))
    assert "sk-pw" not in str(error.value)


def test_a_key_goes_in_clear_text_to_this_machine_only(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-1")
    options = BackendOptions(api_key_variable="MY_KEY")
    with pytest.raises(UserError, match="clear text") as error:
        Http("HTTP://models.example/v1#m", options)
    assert "sk-1" not in str(error.value)
    for url in ("http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1", "https://h.example"):
        assert Http(f"{url}/v1/#m", options).revision == f"{url}/v1#m"
    monkeypatch.setenv("MY_KEY", "sk 1\n")
    with pytest.raises(UserError, match="blanks"):
        Http("https://h.example/v1#m", options)


def test_it_can_be_called_where_a_loop_already_runs():
    with FakeOpenAI() as server:

        async def notebook():
            return client(server).complete([ask("post")])

        assert asyncio.run(notebook())[0].text == "said: post"


def test_options_without_a_use_are_named_at_start(caplog):
    Http("http://127.0.0.1:9/v1#m", BackendOptions(dtype="float16"))
    assert "dtype" in caplog.text
    assert "retries" not in caplog.text


def test_the_same_server_words_give_the_same_completion_twice():
    with FakeOpenAI() as server:
        backend = client(server)
        first, second = (backend.complete([ask("post", json_schema=SCHEMA)]) for _ in range(2))
        assert first == second
        assert json.dumps(server.seen[0]) == json.dumps(server.seen[1])
