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

from gen_msa.serving.gate import OPEN
from tests.serving.doubles import Mirror, served, wait_for

TOKEN = "0123456789abcdef"
JSON = {"content-type": "application/json"}


def refused(reply, status):
    assert reply.status_code == status, reply.text
    told = reply.json()["error"]
    assert told["reason"]
    assert told["mend"]
    return told["reason"]


@pytest.fixture(scope="module")
def small():
    limits = ["body_bytes=20000", "posts=3", "aspects=5", "characters=100", "json_values=2000"]
    with served(*(f"limits.{x}" for x in limits)) as it:
        yield it


@pytest.mark.parametrize("token", ["", "Bearer wrong-wrong-wrong", "Basic 0123456789abcdef"])
def test_without_the_token_nothing_but_health_and_description_answers(token):
    with served(token=TOKEN) as it:
        headers = {"authorization": token} if token else {}
        for ask in (
            lambda: it.explain({"text": "a"}, headers=headers),
            lambda: it.client.get("/metrics", headers=headers),
            lambda: it.client.get("/nothing", headers=headers),
        ):
            reply = ask()
            refused(reply, 401)
            assert reply.headers["www-authenticate"] == "Bearer"
        for path in OPEN:
            assert it.client.get(path, headers=headers).status_code == 200
        right = {"authorization": f"Bearer {TOKEN}"}
        assert it.explain({"text": "a"}, headers=right).status_code == 200
        assert it.reader.batches == [["a"]]
        assert TOKEN not in it.stream.getvalue()


def test_without_a_token_a_foreign_host_name_is_refused(service):
    # A page on the web may point its own name at this machine (DNS rebinding).
    for name in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        refused(service.explain({"text": "a"}, headers={"host": name}), 421)
    for name in ("localhost:1", "[::1]:80", "127.0.0.1"):
        assert service.explain({"text": "a"}, headers={"host": name}).status_code == 200


def test_too_many_posts_aspects_or_characters_are_refused(small):
    assert "4 posts" in refused(small.explain([{"text": "a"}] * 4), 413)
    rows = [{"text": "b", "aspects": ["b"] * 6}, {"text": "c" * 101}, {"text": "d"}]
    entries = small.explain(rows).json()["answers"]
    assert "6 aspects" in entries[0]["error"]["reason"]
    assert "101 characters" in entries[1]["error"]["reason"]
    assert entries[2]["example"]


def test_ten_thousand_aspects_are_refused_and_not_read(service):
    aspects = [f"a{i}" for i in range(10_000)]
    began, before = time.monotonic(), len(service.reader.batches)
    entry = service.explain({"text": "x", "aspects": aspects}).json()["answers"][0]
    assert "10,000 aspects, over the limit of 64" in entry["error"]["reason"]
    assert time.monotonic() - began < 2
    assert len(service.reader.batches) == before


def test_json_of_many_small_values_is_refused_before_it_is_parsed(small):
    body = b"[" + b"{}," * 3000 + b"{}]"
    assert "values" in refused(small.client.post("/v1/explain", content=body, headers=JSON), 413)


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_100_mb_is_refused_early_and_never_held(service, declared):
    """Declared it is refused unread; in chunks it is counted as it comes."""
    process = psutil.Process()
    sent, most = 0, 0
    chunk = b"x" * (1 << 18)

    def pieces():
        nonlocal sent, most
        for _ in range(400):
            sent += len(chunk)
            most = max(most, process.memory_info().rss)
            yield chunk

    length = {"content-length": str(400 * len(chunk))} if declared else {}
    before = process.memory_info().rss
    reply = service.client.post("/v1/explain", content=pieces(), headers=JSON | length)
    assert "16,777,216 bytes" in refused(reply, 413)
    assert reply.headers["connection"] == "close"
    assert most - before < 64 << 20
    assert service.explain({"text": "a"}).status_code == 200


def test_a_client_that_sends_all_before_it_listens_still_hears_why(small):
    # A socket closed on unread bytes is reset, and the answer is lost on the way.
    body = b"x" * (8 << 20)
    with small.raw() as line:
        line.sendall(
            b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        line.sendall(body)
        came = b""
        while got := line.recv(1 << 16):
            came += got
    assert came.startswith(b"HTTP/1.1 413")
    assert b"20,000 bytes" in came


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_body_is_refused_whatever_it_would_become(service, coding):
    bomb = gzip.compress(b" " * (20 << 20))
    body = bomb if "gzip" in coding else zlib.compress(b"[]")
    reply = service.client.post(
        "/v1/explain", content=body, headers=JSON | {"content-encoding": coding}
    )
    assert "compressed" in refused(reply, 415)


def test_other_types_are_refused(service):
    for kind in ("text/plain", "application/zip", "application/x-www-form-urlencoded", ""):
        reply = service.client.post("/v1/explain", content=b"x=1", headers={"content-type": kind})
        assert repr(kind) in refused(reply, 415)


def test_requests_over_the_limit_are_told_to_come_back():
    gate = threading.Event()
    with served("limits.requests=2", reader=lambda root: Mirror(root, gate=gate)) as it:
        replies = []
        asking = [
            threading.Thread(target=lambda i=i: replies.append(it.explain({"text": str(i)})))
            for i in range(2)
        ]
        for a in asking:
            a.start()
        wait_for(lambda: it.running.service._flying == 2)
        late = it.explain({"text": "late"})
        refused(late, 429)
        assert late.headers["retry-after"] == "1"
        gate.set()
        for a in asking:
            a.join()
        assert [r.status_code for r in replies] == [200, 200]
        assert it.explain({"text": "now"}).status_code == 200


def test_a_full_queue_is_503_and_large_bodies_together_are_too():
    gate = threading.Event()
    limits = ["limits.queue_rows=2", "limits.bodies_bytes=2000"]
    with served(*limits, reader=lambda root: Mirror(root, gate=gate)) as it:
        replies = []

        def ask(text):
            replies.append(it.explain({"text": text}).status_code)

        asking = [threading.Thread(target=ask, args=(str(i),)) for i in range(3)]
        asking[0].start()
        wait_for(lambda: it.reader.batches)  # the first is being read, two wait
        for a in asking[1:]:
            a.start()
        wait_for(lambda: it.running.service.desk._queued == 2)
        for body in ("late", "long" * 600):
            late = it.explain({"text": body})
            refused(late, 503)
            assert late.headers["retry-after"] == "1"
        gate.set()
        for a in asking:
            a.join()
        assert replies == [200, 200, 200]
        assert it.running.service._room._held == 0


def test_a_reading_that_takes_too_long_is_given_up_and_health_says_stuck():
    gate = threading.Event()
    with served("limits.seconds=0.3", reader=lambda root: Mirror(root, gate=gate)) as it:
        late = it.explain({"text": "a"})
        assert "0.3 seconds" in refused(late, 503)
        wait_for(lambda: it.client.get("/healthz").json()["status"] == "stuck")
        refused(it.explain({"text": "b"}), 503)
        gate.set()
        wait_for(lambda: it.client.get("/healthz").json()["status"] == "ready")
        assert it.explain({"text": "c"}).status_code == 200
        assert it.reader.batches == [["a"], ["c"]]


def test_a_flood_of_large_good_bodies_leaves_no_memory_behind(service):
    row = {"text": "y" * 10_000, "meta": {"k": "z" * 10_000}}
    body = json.dumps([{**row, "id": str(i)} for i in range(40)]).encode()
    process = psutil.Process()
    sizes = []
    for _ in range(30):
        reply = service.client.post("/v1/explain", content=body, headers=JSON)
        assert reply.status_code == 200
        sizes.append(process.memory_info().rss)
    service.reader.batches.clear()
    assert sizes[-1] - sizes[9] < 32 << 20
