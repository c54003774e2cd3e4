"""`--pseudonymize` on the command line: workers, shards and a second run send the same text."""

import json

import pytest

from gen_msa.pseudonyms.placeholders import KEY_ENV_VAR
from gen_msa.types import Aspect, Post
from tests.fixtures.elsewhere import make_remote
from tests.fixtures.fake_openai import FakeOpenAI, last_message_text, reply
from tests.fixtures.posts import write_posts


def answer(body):
    post = last_message_text(body).partition("POST\n")[2].partition("\nPOST")[0]
    return reply(json.dumps({"sentiment": "positive", "explanation": f"It says “{post}”."}))


@pytest.fixture
def server():
    with FakeOpenAI(answer=answer) as fake:
        yield fake


@pytest.fixture(autouse=True)
def own_key(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_ENV_VAR, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def posts(tmp_path):
    texts = [f"@ana and @bo{i} like https://t.co/x{i}" for i in range(6)]
    rows = [
        Post(id=str(i), text=t, aspects=(Aspect(term="@ana", start=0),))
        for i, t in enumerate(texts)
    ]
    return write_posts(tmp_path / "posts.jsonl", rows)


def sent_posts(server):
    texts = [last_message_text(b).partition("POST\n")[2] for b in server.request_bodies]
    return sorted(t.partition("\nPOST")[0] for t in texts)


def test_shards_workers_and_a_second_run_send_the_same_text(gen_msa, server, posts, tmp_path):
    model = ("-m", f"http:{server.url}#m", "--pseudonymize", "handles,urls", "cues={}", "chunk=2")
    assert gen_msa("explain", posts, *model, "-o", tmp_path / "a.jsonl").code == 0
    first = sent_posts(server)
    assert len(first) == 6
    assert len({t.split()[0] for t in first}) == 1  # @ana is one person in all posts
    assert not [t for t in first if "ana" in t or "t.co" in t]
    for i in (1, 2):
        shard = ("--shard", f"{i}/2", "-o", tmp_path / "b.jsonl")
        assert gen_msa("explain", posts, *model, *shard).code == 0
    assert sent_posts(server) == sorted(first * 2)
    parts = sorted(tmp_path.glob("b.*.part"))
    assert gen_msa("merge", *parts, "-o", tmp_path / "b.jsonl").code == 0
    workers = ("workers=2", "-o", tmp_path / "c.jsonl")
    assert gen_msa("explain", posts, *model, *workers).code == 0
    assert sent_posts(server) == sorted(first * 3)
    written = [(tmp_path / f"{name}.jsonl").read_bytes() for name in "abc"]
    assert written[0] == written[1] == written[2]
    again = gen_msa("explain", posts, *model, "-o", tmp_path / "a.jsonl")
    assert "6 posts answered from the cache" in again.err


def test_output_and_answer_cache_are_those_of_the_post(gen_msa, server, posts, tmp_path):
    model = ("-m", f"http:{server.url}#m", "cues={}")
    gen_msa("explain", posts, *model, "-o", tmp_path / "plain.jsonl")
    gen_msa("explain", posts, *model, "--pseudonymize", "all", "-o", tmp_path / "hidden.jsonl")
    rows = [
        [json.loads(line) for line in (tmp_path / name).read_text("utf-8").splitlines()]
        for name in ("plain.jsonl", "hidden.jsonl")
    ]
    for row in (*rows[0], *rows[1]):
        for opinion in row["opinions"]:
            del opinion["provenance"]
    assert rows[0] == rows[1]
    assert rows[1][0]["opinions"][0]["evidence"][0]["start"] == 0


def test_consent_names_what_is_hidden(gen_msa, server, posts, monkeypatch):
    make_remote(monkeypatch)
    kinds = ("--pseudonymize", "handles,urls", "--yes")
    completed = gen_msa("explain", posts, "-m", f"http:{server.url}#m", *kinds)
    assert "no images; pseudonymized: handles, urls" in completed.err


def test_unknown_kind_is_an_error(gen_msa, posts):
    completed = gen_msa("explain", posts, "-m", "echo", "--pseudonymize", "handels")
    assert completed.code == 2
    assert "pseudonymize" in completed.err
    assert "'handles'" in completed.err


def test_evaluate_hides_from_models_and_judge(gen_msa, server, tmp_path):
    gold = {"annotator": "gold", "polarity": "positive", "explanation": "@bob says so"}
    rows = [{"post": {"id": str(i), "text": f"@ana {i}"}, "opinions": [gold]} for i in range(2)]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    model = f"http:{server.url}#m"
    completed = gen_msa(
        *("evaluate", data, "-m", model, "-o", tmp_path / "out", "--pseudonymize", "handles"),
        *(
            f"judge={{model: '{model}', same_model: allow}}",
            "metrics=[labels]",
            "settings.aspects=overall",
        ),
    )
    assert completed.code == 0, completed.err
    received = json.dumps(server.request_bodies)
    judged = [b for b in server.request_bodies if "You mark" in json.dumps(b)]
    assert judged
    assert all("It says" in json.dumps(b) for b in judged)
    assert "@user" in received
    assert "@ana" not in received
