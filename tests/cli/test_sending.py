"""Posts go to another machine only after the user has agreed, and one line says what is sent."""

import io
import json
import sys

import pytest

import gen_msa as package
from gen_msa.errors import UserError
from tests.fixtures.elsewhere import make_remote
from tests.fixtures.fake_openai import FakeOpenAI, reply
from tests.fixtures.posts import post, write_image, write_posts

HOST = "127.0.0.1"


@pytest.fixture
def server():
    with FakeOpenAI(answer=lambda body: reply('{"sentiment": "positive"}')) as fake:
        yield fake


@pytest.fixture
def remote(server, monkeypatch):
    make_remote(monkeypatch)
    return f"http:{server.url}#model"


@pytest.fixture
def posts(tmp_path):
    write_image(tmp_path / "a.png")
    rows = [post(0, images=["a.png"]), post(1), post(2)]
    return write_posts(tmp_path / "posts.jsonl", rows)


def labelled(tmp_path):
    path = tmp_path / "labelled.jsonl"
    opinion = {"annotator": "gold", "polarity": "positive", "explanation": "it is good"}
    row = {"post": {"id": "1", "text": "good"}, "opinions": [opinion]}
    other = {**row, "opinions": [opinion, {**opinion, "annotator": "someone"}]}
    rows = [other, {**other, "post": {"id": "2", "text": "fine"}}]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


@pytest.mark.parametrize("command", ["explain", "annotate"])
def test_nothing_is_sent_and_nothing_written_without_consent(
    gen_msa, command, remote, server, posts, tmp_path
):
    before = sorted(tmp_path.iterdir())
    completed = gen_msa(command, posts, "-m", remote, "-o", tmp_path / "out.jsonl")
    assert completed.code == 2
    assert f"nothing was sent: {HOST} is not this machine" in completed.err
    assert "up to 3 posts: 3 texts (" in completed.err
    assert "1 image (" in completed.err
    assert "--yes" in completed.err
    assert server.request_bodies == []
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("consent", ["--yes", f"backend.send_to=[{HOST}]"])
@pytest.mark.parametrize("command", ["explain", "annotate"])
def test_consent_by_option_or_setting_sends_and_says_what(
    gen_msa, command, consent, remote, server, posts, tmp_path
):
    out = tmp_path / "out.jsonl"
    completed = gen_msa(command, posts, "-m", remote, "-o", out, consent)
    assert completed.code == 0, completed.err
    (line,) = [x for x in completed.err.splitlines() if x.startswith("sends to ")]
    assert line.startswith(f"sends to {HOST}: up to 3 posts: 3 texts (")
    assert "1 image (" in line
    assert server.request_bodies


def test_setting_for_another_host_is_no_consent(gen_msa, remote, server, posts):
    completed = gen_msa("explain", posts, "-m", remote, "backend.send_to=[api.example.com]")
    assert completed.code == 2
    assert server.request_bodies == []


def test_images_that_are_not_shown_are_not_announced(gen_msa, remote, posts):
    completed = gen_msa("explain", posts, "-m", remote, "--yes", "images=false")
    assert "no images" in completed.err


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_terminal_asks(gen_msa, answer, code, remote, server, posts, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    completed = gen_msa("explain", posts, "-m", remote)
    assert completed.code == code, completed.err
    assert f"send them to {HOST}?" in completed.err
    assert bool(server.request_bodies) == (code == 0)


def test_consent_does_not_change_the_answer_cache(gen_msa, remote, server, posts, tmp_path):
    command = ("explain", posts, "-m", remote, "-o", tmp_path / "out.jsonl")
    gen_msa(*command, "--yes")
    n_requests = len(server.request_bodies)
    completed = gen_msa(*command, f"backend.send_to=[{HOST}]")
    assert "3 posts answered from the cache" in completed.err
    assert len(server.request_bodies) == n_requests


def test_evaluate_asks_for_models_and_judge(gen_msa, remote, server, tmp_path):
    data, out = labelled(tmp_path), tmp_path / "evaluation"
    judge = f"judge={{model: '{remote}'}}"
    for options in (("-m", remote), (judge,)):
        completed = gen_msa("evaluate", data, *options, "-o", out)
        assert completed.code == 2, completed.err
        assert f"{HOST} is not this machine" in completed.err
        assert not out.exists()
    assert "explanations" in completed.err
    assert server.request_bodies == []
    completed = gen_msa("evaluate", data, judge, "-o", out, "--yes", "metrics=[labels]")
    assert completed.code == 0, completed.err
    assert f"sends to {HOST}: up to 2 posts" in completed.err
    assert server.request_bodies


def test_serve_asks_before_it_listens(gen_msa, remote):
    completed = gen_msa("serve", remote, "port=0")
    assert completed.code == 2
    assert f"{HOST} is not this machine" in completed.err


def test_filter_that_asks_another_machine_counts(gen_msa, remote, server, posts, tmp_path):
    filters = f"filters={{label_recovery: {{model: '{remote}', cues: {{}}}}}}"
    command = ("annotate", posts, "-m", "echo", "-o", tmp_path / "t.jsonl", filters, "cues={}")
    completed = gen_msa(*command)
    assert completed.code == 2
    assert f"{HOST} is not this machine" in completed.err
    assert server.request_bodies == []
    completed = gen_msa(*command, "--yes")
    assert "not this machine" not in completed.err
    assert server.request_bodies


def test_ray_cluster_of_other_machines_counts(gen_msa, posts, tmp_path):
    completed = gen_msa(
        *("explain", posts, "-m", "echo", "-o", tmp_path / "o.jsonl"),
        *("--engine", "ray", "--address", "203.0.113.7:6379"),
    )
    assert completed.code == 2
    assert "nothing was sent: 203.0.113.7 is not this machine" in completed.err


def test_dry_run_and_preview_send_nothing_and_need_no_consent(
    gen_msa, remote, server, posts, tmp_path
):
    out = tmp_path / "t.jsonl"
    assert gen_msa("annotate", posts, "-m", remote, "-o", out, "--dry-run").code == 0
    assert gen_msa("preview", posts, "-m", remote).code == 0
    assert server.request_bodies == []


def test_python_needs_consent_too(remote, server):
    with pytest.raises(UserError, match="is not this machine") as caught:
        package.explain("good", model=remote)
    assert "send_to=" in str(caught.value)
    with pytest.raises(UserError, match="is not this machine"):
        package.load(remote).explain("good")
    assert server.request_bodies == []
    package.explain("good", model=remote, send_to=[HOST])
    package.load(remote, backend={"send_to": [HOST]}).explain("good")
    assert len(server.request_bodies) >= 2
    with pytest.raises(UserError, match="no list"):
        package.explain("good", model=remote, send_to=HOST)


def test_server_of_this_machine_needs_no_consent(gen_msa, server, posts):
    completed = gen_msa("explain", posts, "-m", f"http:{server.url}#model")
    assert completed.code == 0
    assert "sends to" not in completed.err


def test_redirect_to_another_host_gets_nothing(gen_msa, posts):
    with FakeOpenAI(lambda text, attempt: "307") as local:
        completed = gen_msa("explain", posts, "-m", f"http:{local.url}#model")
    assert completed.code == 3
    assert "HTTP 307: a redirect to collector.example.com is not followed" in completed.err
