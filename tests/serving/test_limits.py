"""What is over a limit is refused by name, in bounded memory, and the next client is served."""

import gzip
import json
import threading
import time
import zlib

import psutil
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from gen_msa.serving.middleware import PUBLIC_PATHS
from tests.serving.doubles import FakePredictor, run_service, wait_for

TOKEN = "0123456789abcdef"
JSON_HEADERS = {"content-type": "application/json"}


def assert_refused(reply, status):
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert error["reason"]
    assert error["hint"]
    return error["reason"]


@pytest.fixture(scope="module")
def small_service():
    limits = ["body_bytes=20000", "posts=3", "aspects=5", "characters=100", "json_values=2000"]
    with run_service(*(f"limits.{x}" for x in limits)) as service:
        yield service


@pytest.mark.parametrize("token", ["", "Bearer wrong-wrong-wrong", "Basic 0123456789abcdef"])
def test_only_public_paths_answer_without_token(token):
    with run_service(token=TOKEN) as service:
        headers = {"authorization": token} if token else {}
        for send in (
            lambda: service.explain({"text": "a"}, headers=headers),
            lambda: service.client.get("/metrics", headers=headers),
            lambda: service.client.get("/nothing", headers=headers),
        ):
            reply = send()
            assert_refused(reply, 401)
            assert reply.headers["www-authenticate"] == "Bearer"
        for path in PUBLIC_PATHS:
            assert service.client.get(path, headers=headers).status_code == 200
        authorized = {"authorization": f"Bearer {TOKEN}"}
        assert service.explain({"text": "a"}, headers=authorized).status_code == 200
        assert service.predictor.batches == [["a"]]
        assert TOKEN not in service.stream.getvalue()


def test_foreign_host_header_is_refused_without_token(service):
    # A page on the web may point its own name at this machine (DNS rebinding).
    for name in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        assert_refused(service.explain({"text": "a"}, headers={"host": name}), 421)
    for name in ("localhost:1", "[::1]:80", "127.0.0.1"):
        assert service.explain({"text": "a"}, headers={"host": name}).status_code == 200


def test_too_many_posts_aspects_or_characters_are_refused(small_service):
    assert "4 posts" in assert_refused(small_service.explain([{"text": "a"}] * 4), 413)
    rows = [{"text": "b", "aspects": ["b"] * 6}, {"text": "c" * 101}, {"text": "d"}]
    entries = small_service.explain(rows).json()["answers"]
    assert "6 aspects" in entries[0]["error"]["reason"]
    assert "101 characters" in entries[1]["error"]["reason"]
    assert entries[2]["example"]


def test_10_000_aspects_are_refused_without_prediction(service):
    aspects = [f"a{i}" for i in range(10_000)]
    started, before = time.monotonic(), len(service.predictor.batches)
    entry = service.explain({"text": "x", "aspects": aspects}).json()["answers"][0]
    assert "10,000 aspects, over the limit of 64" in entry["error"]["reason"]
    assert time.monotonic() - started < 2
    assert len(service.predictor.batches) == before


def test_json_with_many_values_is_refused_before_parsing(small_service):
    body = b"[" + b"{}," * 3000 + b"{}]"
    assert "values" in assert_refused(
        small_service.client.post("/v1/explain", content=body, headers=JSON_HEADERS), 413
    )


@pytest.mark.parametrize("declared", [True, False])
def test_100_mb_body_is_refused_in_bounded_memory(service, declared):
    """Declared it is refused unread; in chunks it is counted as it comes."""
    process = psutil.Process()
    n_sent, peak_rss = 0, 0
    chunk = b"x" * (1 << 18)

    def stream_chunks():
        nonlocal n_sent, peak_rss
        for _ in range(400):
            n_sent += len(chunk)
            peak_rss = max(peak_rss, process.memory_info().rss)
            yield chunk

    length = {"content-length": str(400 * len(chunk))} if declared else {}
    before = process.memory_info().rss
    reply = service.client.post(
        "/v1/explain", content=stream_chunks(), headers=JSON_HEADERS | length
    )
    assert "16,777,216 bytes" in assert_refused(reply, 413)
    assert reply.headers["connection"] == "close"
    assert peak_rss - before < 64 << 20
    assert service.explain({"text": "a"}).status_code == 200


def test_client_that_sends_before_reading_receives_the_error(small_service):
    # A socket closed on unread bytes is reset, and the answer is lost on the way.
    body = b"x" * (8 << 20)
    with small_service.connect() as connection:
        connection.sendall(
            b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        connection.sendall(body)
        received = b""
        while data := connection.recv(1 << 16):
            received += data
    assert received.startswith(b"HTTP/1.1 413")
    assert b"20,000 bytes" in received


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_compressed_body_is_refused(service, coding):
    bomb = gzip.compress(b" " * (20 << 20))
    body = bomb if "gzip" in coding else zlib.compress(b"[]")
    reply = service.client.post(
        "/v1/explain", content=body, headers=JSON_HEADERS | {"content-encoding": coding}
    )
    assert "compressed" in assert_refused(reply, 415)


def test_other_content_types_are_refused(service):
    for content_type in ("text/plain", "application/zip", "application/x-www-form-urlencoded", ""):
        reply = service.client.post(
            "/v1/explain", content=b"x=1", headers={"content-type": content_type}
        )
        assert repr(content_type) in assert_refused(reply, 415)


def test_requests_over_limit_get_429_with_retry_after():
    release = threading.Event()
    with run_service(
        "limits.requests=2", make_predictor=lambda root: FakePredictor(root, release=release)
    ) as service:
        replies = []
        threads = [
            threading.Thread(target=lambda i=i: replies.append(service.explain({"text": str(i)})))
            for i in range(2)
        ]
        for a in threads:
            a.start()
        wait_for(lambda: service.server.service._in_flight == 2)
        rejected = service.explain({"text": "late"})
        assert_refused(rejected, 429)
        assert rejected.headers["retry-after"] == "1"
        release.set()
        for a in threads:
            a.join()
        assert [r.status_code for r in replies] == [200, 200]
        assert service.explain({"text": "now"}).status_code == 200


def test_full_queue_and_body_budget_give_503():
    release = threading.Event()
    limits = ["limits.queue_rows=2", "limits.bodies_bytes=2000"]
    with run_service(
        *limits, make_predictor=lambda root: FakePredictor(root, release=release)
    ) as service:
        replies = []

        def ask(text):
            replies.append(service.explain({"text": text}).status_code)

        threads = [threading.Thread(target=ask, args=(str(i),)) for i in range(3)]
        threads[0].start()
        wait_for(lambda: service.predictor.batches)  # the first is being read, two wait
        for a in threads[1:]:
            a.start()
        wait_for(lambda: service.server.service.batcher._queued_rows == 2)
        for body in ("late", "long" * 600):
            rejected = service.explain({"text": body})
            assert_refused(rejected, 503)
            assert rejected.headers["retry-after"] == "1"
        release.set()
        for a in threads:
            a.join()
        assert replies == [200, 200, 200]
        assert service.server.service._body_budget._held_bytes == 0


def test_slow_prediction_times_out_and_health_reports_stuck():
    release = threading.Event()
    with run_service(
        "limits.seconds=0.3", make_predictor=lambda root: FakePredictor(root, release=release)
    ) as service:
        rejected = service.explain({"text": "a"})
        assert "0.3 seconds" in assert_refused(rejected, 503)
        wait_for(lambda: service.client.get("/healthz").json()["status"] == "stuck")
        assert_refused(service.explain({"text": "b"}), 503)
        release.set()
        wait_for(lambda: service.client.get("/healthz").json()["status"] == "ready")
        assert service.explain({"text": "c"}).status_code == 200
        assert service.predictor.batches == [["a"], ["c"]]


def test_large_bodies_leak_no_memory(service):
    row = {"text": "y" * 10_000, "meta": {"k": "z" * 10_000}}
    body = json.dumps([{**row, "id": str(i)} for i in range(40)]).encode()
    process = psutil.Process()
    sizes = []
    for _ in range(30):
        reply = service.client.post("/v1/explain", content=body, headers=JSON_HEADERS)
        assert reply.status_code == 200
        sizes.append(process.memory_info().rss)
    service.predictor.batches.clear()
    assert sizes[-1] - sizes[9] < 32 << 20
