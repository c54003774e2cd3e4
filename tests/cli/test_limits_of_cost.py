"""`max_tokens_total` and `max_cost` end a paid job before they are passed; it goes on later."""

import json

import pytest

from tests.fixtures.fake_openai import FakeOpenAI, reply
from tests.fixtures.posts import post, write_posts

TOKENS = 100
"""Tokens that the server bills for a request: 90 of the prompt, 10 of the answer."""


def billed_answer(body):
    usage = {"prompt_tokens": 90, "completion_tokens": 10}
    return {**reply("Sentiment: positive\nExplanation: It is liked."), "usage": usage}


@pytest.fixture
def server():
    with FakeOpenAI() as running:
        running.answer = billed_answer
        yield running


@pytest.fixture
def posts(tmp_path):
    return write_posts(tmp_path / "posts.jsonl", map(post, range(12)))


def explain(gen_msa, server, posts, *options):
    model = ("-m", f"http:{server.url}#m", "cues={}", "aspects=overall", "chunk=1")
    out = posts.with_name("o.jsonl")
    return gen_msa("explain", posts, *model, "-o", out, *options), out


def answered(out):
    rows = map(json.loads, out.read_text("utf-8").splitlines())
    return [o["status"] == "ok" for row in rows for o in row["opinions"]]


@pytest.mark.parametrize(
    "limit",
    [
        ("max_tokens_total=1600",),
        ("max_cost=0.0016", "prices={input: 1, output: 1}"),
        ("max_cost=10", "prices={input: 1, output: 1}", "max_tokens_total=1600"),
    ],
    ids=["tokens", "cost", "both"],
)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_job_ends_before_the_limit_and_goes_on_later(gen_msa, server, posts, limit, batch_size):
    options = (*limit, f"backend.batch_size={batch_size}", "backend.share_prefix=false")
    ended, out = explain(gen_msa, server, posts, *options)
    n_first = len(server.request_bodies)
    assert 0 < n_first < 12
    assert n_first * TOKENS <= 1600
    assert ended.code == 3
    assert "would be passed" in ended.err.replace("\n", " ")
    assert answered(out).count(True) == n_first
    assert answered(out) == sorted(answered(out), reverse=True)  # in the order of the posts

    resumed, out = explain(gen_msa, server, posts)
    assert resumed.code == 0, resumed.err
    assert f"{n_first} posts answered from the cache" in resumed.err
    assert len(server.request_bodies) == 12
    assert answered(out) == [True] * 12


def test_high_limit_changes_nothing(gen_msa, server, posts):
    ended, out = explain(gen_msa, server, posts, "max_tokens_total=1000000")
    assert ended.code == 0
    assert answered(out) == [True] * 12


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("max_cost=1",), "max_cost needs prices"),
        (("max_tokens_total=9", "workers=2"), "held by one process"),
        (("max_tokens_total=0",), "max_tokens_total"),
    ],
)
def test_limit_that_cannot_be_held_is_refused(gen_msa, server, posts, options, reason):
    ended, _ = explain(gen_msa, server, posts, *options)
    assert ended.code == 2
    assert reason in ended.err
    assert server.request_bodies == []


def test_limit_of_a_model_without_a_bill_is_refused(gen_msa, posts):
    ended = gen_msa("explain", posts, "-m", "echo", "max_tokens_total=9")
    assert ended.code == 2
    assert "echo has no bill" in ended.err
