"""The answers: the command line's own lines, an entry for each post, health, metrics, logs."""

import json
import socket

import pytest

from gen_msa.predictors import Prediction, PredictorSettings, make
from gen_msa.types import Aspect, Example, Post
from tests.serving.doubles import FakePredictor, fake_opinion, run_service, wait_for

ECHO = PredictorSettings(model="echo", prompt="predict/plain", cues={})
SECRET = "Zanzibar"


def entries(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["answers"]


def test_answer_holds_the_example_of_the_predictor(service):
    post = {"id": "a", "text": "The soup was cold, the bar loud", "meta": {"lang": "en"}}
    aspects = ["soup", {"term": "bar", "start": 23}, {"term": "prices", "start": None}]
    answers = entries(service.explain({**post, "aspects": aspects}))
    expected_aspects = (
        Aspect(term="soup", start=4),
        Aspect(term="bar", start=23),
        Aspect(term="prices"),
    )
    expected_post = Post(**post, aspects=expected_aspects)
    expected_opinions = tuple(fake_opinion(expected_post.text, a) for a in expected_aspects)
    assert len(answers) == 1
    assert Example.model_validate(answers[0]["example"]) == Example(
        post=expected_post, opinions=expected_opinions
    )


def test_packaged_predictor_answers_the_same_as_without_service():
    texts = [f"Great screen number {i}, awful battery" for i in range(5)]
    posts = [{"id": str(i), "text": t, "aspects": ["battery"]} for i, t in enumerate(texts)]
    with run_service(make_predictor=lambda root: make(ECHO, root)) as service:
        content = service.explain({"posts": posts}).content
    parsed_posts = [
        Post(id=str(i), text=t, aspects=(Aspect(term="battery", start=t.index("battery")),))
        for i, t in enumerate(texts)
    ]
    direct = make(ECHO, service.server.service._root).predict(parsed_posts)
    for post, prediction in zip(parsed_posts, direct, strict=True):
        line = Example(post=post, opinions=prediction.opinions).model_dump_json()
        assert line.encode() in content


def test_invalid_post_is_an_error_entry_and_others_are_answered(service):
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
    answers = entries(service.explain(rows))
    assert [e["row"] for e in answers] == list(range(1, 10))
    assert [e["row"] for e in answers if "example" in e] == [1, 6]
    errors = [e["error"] for e in answers if "error" in e]
    assert all(e["reason"] and e["hint"] for e in errors)
    assert "aspect 'y' is not at 0" in errors[0]["reason"]
    assert errors[1] == {"reason": "not today", "hint": "come tomorrow"}
    assert errors[-1] == {"reason": "the image is odd", "hint": "draw another"}
    assert "secret" not in json.dumps(answers)
    assert "Traceback" not in json.dumps(answers)


def test_missing_id_is_derived_from_request_id(service):
    reply = service.explain([{"text": "a"}, {"text": "b"}])
    ids = [e["example"]["post"]["id"] for e in entries(reply)]
    assert ids == [f"{reply.headers['x-request-id']}-{n}" for n in (1, 2)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not JSON"),
        (b'{"text": "good", "text": "awful"}', "'text' occurs twice"),
        (b'[{"text": "a", "meta": {"b": 1, "b": 2}}]', "'b' occurs twice"),
        (b"[]", "no posts"),
        (b'"x"', "no posts"),
        (b'{"posts": [], "x": 1}', "no other key"),
        (b'[{"text": NaN}]', "not JSON"),
        (b'[{"text": "\\ud800"}]', "not JSON"),
        (b"[" * 9000, "recursion"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_invalid_body_gives_400_with_reason(service, body, reason):
    reply = service.client.post(
        "/v1/explain", content=body, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert reason in error["reason"]
    assert error["hint"]


def test_unknown_path_and_method_give_json_errors(service):
    assert service.client.get("/v2/explain").status_code == 404
    reply = service.client.get("/v1/explain")
    assert reply.status_code == 405
    assert reply.json()["error"]["reason"]


def test_health_reports_model_revision_and_version(service):
    health = service.client.get("/healthz").json()
    assert health["status"] == "ready"
    assert health["model"] == "mirror"
    assert len(health["revision"]) == 64
    assert health["version"]


def test_internal_error_gives_500_without_content():
    class Odd(FakePredictor):
        def _predict_one(self, post):
            return Prediction(("no opinion",)) if "ODD" in post.text else super()._predict_one(post)

    with run_service(make_predictor=Odd) as service:
        reply = service.explain({"text": f"ODD {SECRET}"})
        assert reply.status_code == 500
        assert "failed" in reply.json()["error"]["reason"]
        assert SECRET not in reply.text + service.stream.getvalue()
        fault = wait_for(lambda: service.log_events("fault"))[0]
        assert fault["request"] == reply.headers["x-request-id"]
        assert fault["error"]
        assert service.explain({"text": "even"}).status_code == 200


def test_connections_use_tcp_nodelay(service):
    with service.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        connection.recv(1)
        for c in list(service.server._server.server_state.connections):
            sock = c.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_health_hides_server_folders():
    with run_service("model=student:/srv/secret/text") as service:
        assert service.client.get("/healthz").json()["model"] == "student:text"


def test_log_and_metrics_count_requests_without_post_content():
    with run_service() as service:
        rows = [{"id": f"{SECRET}-id", "text": SECRET, "aspects": [SECRET]}, {"text": "POISON"}]
        service.explain(rows)
        service.client.get(f"/{SECRET}")
        service.client.post(
            "/v1/explain", content=b"[", headers={"content-type": "application/json"}
        )
        metrics = service.client.get("/metrics").text
        log = service.stream.getvalue()
        event = wait_for(service.log_events)[0]
    assert SECRET not in metrics
    assert SECRET not in log
    assert event.keys() >= {"time", "request", "status", "posts", "rows", "bad", "ms"}
    assert (event["status"], event["posts"], event["rows"], event["bad"]) == (200, 2, 2, 1)
    assert 'gen_msa_requests_total{status="200"} 1.0' in metrics
    assert 'gen_msa_requests_total{status="400"} 1.0' in metrics
    assert 'gen_msa_posts_total{outcome="failed"} 1.0' in metrics
    assert "gen_msa_rows_total 2.0" in metrics
    for name in ("queue_rows", "batch_rows_bucket", "request_seconds_bucket", "ready 1.0"):
        assert f"gen_msa_{name}" in metrics


def test_log_holds_texts_if_enabled_and_settings_at_start():
    with run_service("log_text=true", "limits.posts=3") as service:
        service.explain({"text": SECRET})
        assert wait_for(service.log_events)[0]["texts"] == [SECRET]
        settings = service.log_events("listening")[0]["settings"]
        assert settings["limits"]["posts"] == 3
        assert settings["model"] == "mirror"


def test_unexpected_error_is_logged_by_type_and_location_only():
    with run_service() as service:
        service.explain({"text": f"POISON {SECRET}"})
        event = service.log_events("predictor failed")[0]
    assert event["error"] == "RuntimeError"
    assert event["at"].startswith("doubles.py:")
    assert SECRET not in service.stream.getvalue()


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("picture", "a.png", "did you mean 'image'?"),
        ("pictures", ["a.png"], "did you mean 'images'?"),
        ("Photo", "a.png", "did you mean 'image'?"),
        ("media", [{"kind": "image", "path": "a.png"}], "did you mean 'images'?"),
        ("aspect", "soup", "did you mean 'aspects'?"),
        ("target", "soup", "did you mean 'aspects'?"),
        ("texts", "x", "did you mean 'text'?"),
        ("caption", "x", "did you mean 'text'?"),
        ("image_file", "a.png", "did you mean 'image'?"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known_key(service, key, value, hint):
    before = len(service.predictor.batches)
    wrong, right = entries(service.explain([{"text": "The soup", key: value}, {"text": "fine"}]))
    assert wrong["error"]["reason"] == f"unknown key {key!r}"
    assert hint in wrong["error"]["hint"]
    assert "example" in right
    assert service.predictor.batches[before:] == [["fine"]]


def test_other_keys_come_back_in_meta_as_in_explain(service):
    row = {"id": 7, "text": "The soup", "likes": 3, "lang": None, "meta": {"by": "me"}}
    both = {"text": "fine", "by": "you", "meta": {"by": "me"}}
    answered, refused = entries(service.explain([row, both]))
    post = answered["example"]["post"]
    assert (post["id"], post["meta"]) == ("7", {"by": "me", "likes": 3, "lang": None})
    assert refused["error"]["reason"] == "'by' is both in the post and in its meta"


@pytest.mark.parametrize(("value", "post_id"), [(0, "0"), (-12, "-12"), ("x", "x"), ("007", "007")])
def test_id_may_be_a_number(service, value, post_id):
    (entry,) = entries(service.explain({"text": "The soup", "id": value}))
    assert entry["example"]["post"]["id"] == post_id


@pytest.mark.parametrize("value", [True, 1.5, [], 10**30, "x" * 201])
def test_id_may_be_nothing_else(service, value):
    (entry,) = entries(service.explain({"text": "The soup", "id": value}))
    assert entry["error"]["reason"].startswith("id")


def test_null_counts_as_a_missing_key(service):
    nulls = dict.fromkeys(("id", "image", "images", "aspects", "meta"))
    (entry,) = entries(service.explain({"text": "The soup", **nulls}))
    post = entry["example"]["post"]
    assert (post["media"], post["aspects"], post["meta"]) == ([], [], {})
