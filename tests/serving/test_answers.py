"""What comes back: the command line's own lines, an entry for each post, health, figures, logs."""

import json
import socket

import pytest

from gen_msa.readers import ReaderSettings, Reading, make
from gen_msa.types import Aspect, Example, Post
from tests.serving.doubles import Mirror, opinion, served, wait_for

ECHO = ReaderSettings(reader="echo", prompt="reader/plain", cues={})
SECRET = "Zanzibar"


def entries(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["answers"]


def test_an_answer_is_the_readers_own_example(service):
    post = {"id": "a", "text": "The soup was cold, the bar loud", "meta": {"lang": "en"}}
    aspects = ["soup", {"term": "bar", "start": 23}, {"term": "prices", "start": None}]
    found = entries(service.explain({**post, "aspects": aspects}))
    about = (Aspect(term="soup", start=4), Aspect(term="bar", start=23), Aspect(term="prices"))
    asked = Post(**post, aspects=about)
    said = tuple(opinion(asked.text, a) for a in about)
    assert len(found) == 1
    assert Example.model_validate(found[0]["example"]) == Example(post=asked, opinions=said)


def test_the_shipped_reader_answers_as_it_does_alone():
    texts = [f"Great screen number {i}, awful battery" for i in range(5)]
    posts = [{"id": str(i), "text": t, "aspects": ["battery"]} for i, t in enumerate(texts)]
    with served(reader=lambda root: make(ECHO, root)) as it:
        found = it.explain({"posts": posts}).content
    asked = [
        Post(id=str(i), text=t, aspects=(Aspect(term="battery", start=t.index("battery")),))
        for i, t in enumerate(texts)
    ]
    alone = make(ECHO, it.running.service._root).read(asked)
    for post, reading in zip(asked, alone, strict=True):
        line = Example(post=post, opinions=reading.opinions).model_dump_json()
        assert line.encode() in found


def test_a_bad_post_is_an_entry_and_the_others_are_answered(service):
    rows = [
        {"text": "good one"},
        {"text": "x", "aspects": [{"term": "y", "start": 0}]},
        {"text": "please REFUSE"},
        {"text": "x", "media": [{"kind": "image", "path": "/etc/passwd"}]},
        7,
        {"id": "twice", "text": "second good one"},
        {"id": "twice", "text": "third"},
        {"text": "POISON in here"},
        {"text": "this is BROKEN"},
    ]
    found = entries(service.explain(rows))
    assert [e["row"] for e in found] == list(range(1, 10))
    assert [e["row"] for e in found if "example" in e] == [1, 6]
    errors = [e["error"] for e in found if "error" in e]
    assert all(e["reason"] and e["mend"] for e in errors)
    assert "aspect 'y' is not at 0" in errors[0]["reason"]
    assert errors[1] == {"reason": "not today", "mend": "come tomorrow"}
    assert errors[-1] == {"reason": "the picture is odd", "mend": "draw another"}
    assert "secret" not in json.dumps(found)
    assert "Traceback" not in json.dumps(found)


def test_a_post_without_an_id_gets_one_of_its_request(service):
    reply = service.explain([{"text": "a"}, {"text": "b"}])
    ids = [e["example"]["post"]["id"] for e in entries(reply)]
    assert ids == [f"{reply.headers['x-request-id']}-{n}" for n in (1, 2)]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "not JSON"),
        (b"[]", "no posts"),
        (b'"x"', "no posts"),
        (b'{"posts": [], "x": 1}', "no other key"),
        (b'[{"text": NaN}]', "not JSON"),
        (b'[{"text": "\\ud800"}]', "not JSON"),
        (b"[" * 9000, "recursion"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_a_body_that_is_no_list_of_posts_is_400_and_says_why(service, body, why):
    reply = service.client.post(
        "/v1/explain", content=body, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 400
    told = reply.json()["error"]
    assert why in told["reason"]
    assert told["mend"]


def test_unknown_paths_and_methods_are_told_as_json(service):
    assert service.client.get("/v2/explain").status_code == 404
    reply = service.client.get("/v1/explain")
    assert reply.status_code == 405
    assert reply.json()["error"]["reason"]


def test_health_tells_reader_revision_and_version(service):
    told = service.client.get("/healthz").json()
    assert told["status"] == "ready"
    assert told["reader"] == "mirror"
    assert len(told["revision"]) == 64
    assert told["version"]


def test_a_fault_of_ours_is_500_without_words_and_the_next_request_is_answered():
    class Odd(Mirror):
        def _one(self, post):
            return Reading(("no opinion",)) if "ODD" in post.text else super()._one(post)

    with served(reader=Odd) as it:
        reply = it.explain({"text": f"ODD {SECRET}"})
        assert reply.status_code == 500
        assert "failed" in reply.json()["error"]["reason"]
        assert SECRET not in reply.text + it.stream.getvalue()
        fault = wait_for(lambda: it.logged("fault"))[0]
        assert fault["request"] == reply.headers["x-request-id"]
        assert fault["error"]
        assert it.explain({"text": "even"}).status_code == 200


def test_answers_do_not_wait_for_the_clients_acknowledgement(service):
    with service.raw() as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        line.recv(1)
        for c in list(service.running._server.server_state.connections):
            sock = c.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_health_names_no_folder_of_the_server():
    with served("reader=student:/srv/secret/text") as it:
        assert it.client.get("/healthz").json()["reader"] == "student:text"


def test_log_and_figures_count_and_hold_no_words_of_posts():
    with served() as it:
        rows = [{"id": f"{SECRET}-id", "text": SECRET, "aspects": [SECRET]}, {"text": "POISON"}]
        it.explain(rows)
        it.client.get(f"/{SECRET}")
        it.client.post("/v1/explain", content=b"[", headers={"content-type": "application/json"})
        figures = it.client.get("/metrics").text
        log = it.stream.getvalue()
        line = wait_for(it.logged)[0]
    assert SECRET not in figures
    assert SECRET not in log
    assert line.keys() >= {"time", "request", "status", "posts", "rows", "bad", "ms"}
    assert (line["status"], line["posts"], line["rows"], line["bad"]) == (200, 2, 2, 1)
    assert 'gen_msa_requests_total{status="200"} 1.0' in figures
    assert 'gen_msa_requests_total{status="400"} 1.0' in figures
    assert 'gen_msa_posts_total{outcome="failed"} 1.0' in figures
    assert "gen_msa_rows_total 2.0" in figures
    for name in ("queue_rows", "batch_rows_bucket", "request_seconds_bucket", "ready 1.0"):
        assert f"gen_msa_{name}" in figures


def test_the_log_holds_texts_when_asked_and_settings_at_the_start():
    with served("log_text=true", "limits.posts=3") as it:
        it.explain({"text": SECRET})
        assert wait_for(it.logged)[0]["texts"] == [SECRET]
        settings = it.logged("listening")[0]["settings"]
        assert settings["limits"]["posts"] == 3
        assert settings["reader"] == "mirror"


def test_an_error_nobody_expected_is_logged_by_type_and_place_alone():
    with served() as it:
        it.explain({"text": f"POISON {SECRET}"})
        told = it.logged("reader failed")[0]
    assert told["error"] == "RuntimeError"
    assert told["at"].startswith("doubles.py:")
    assert SECRET not in it.stream.getvalue()
