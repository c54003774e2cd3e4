"""Odd requests, byte by byte: each is answered by name or cut, none is a server error."""

import gc
import json
import re
import time
from collections import Counter

import psutil
import pytest

from tests.data.test_pickle_safety import payloads
from tests.serving.doubles import run_service, wait_for

JSON = "application/json"
MULTIPART = "multipart/form-data; boundary=x"
POSTS = b'--x\r\ncontent-disposition: form-data; name="posts"\r\n\r\n{"text": "a"}\r\n'
CLOSING_BOUNDARY = b"--x--\r\n"
LIMITS = ("limits.header_seconds=1", "limits.body_seconds=2")


@pytest.fixture(scope="module")
def quick_service():
    with run_service(*LIMITS) as service:
        yield service


def file_part(name, data, headers=b""):
    head = b'--x\r\ncontent-disposition: form-data; name="f"; filename="' + name + b'"' + headers
    return head + b"\r\n\r\n" + data + b"\r\n"


def part_with_header(name, value):
    """A part `posts` with one more header."""
    head = b'--x\r\ncontent-disposition: form-data; name="posts"\r\n' + name + b": " + value
    return head + b"\r\n\r\n{}\r\n" + CLOSING_BOUNDARY


def post_with_meta(value):
    return b'{"text": "a", "meta": {"a": ' + value + b"}}"


UNUSUAL_CODECS = (
    "utf-7 unicode_escape raw_unicode_escape idna punycode undefined utf-16 utf-32 hex zip cp437"
)
REPEATED = [b"\r", b"\n", b"\r\n", b"\r\n-", b"\r\n--", b"\r\n--y", b"-", b"\0"]
BODIES = {
    400: [
        *[
            (JSON, post_with_meta(x))
            for x in (b"NaN", b"Infinity", b"9" * 5000, b"[" * 300 + b"]" * 300)
        ],
        *[(JSON, rb'{"text": "\ud800"}'), (JSON, rb'{"text": "\udc00\ud800"}')],
        *[(JSON, b'{"text": "\xed\xa0\x80"}'), (JSON, b'{"text": "\xff"}'), (JSON, b"")],
        *[(JSON, '{"text": "a"}'.encode(c)) for c in ("utf-8-sig", "utf-16", "utf-32")],
        *[(JSON, x) for x in (b"null", b'"x"', b"1", b"[]", b'{"text": "a"} x', b'{"posts": 1}')],
        *[
            (f"multipart/form-data{x}", POSTS + CLOSING_BOUNDARY)
            for x in ("", '; boundary=""', "; boundary=y")
        ],
        *[
            (MULTIPART, x)
            for x in (
                b"",
                POSTS[:30],
                POSTS + POSTS + CLOSING_BOUNDARY,
                b"--x\r\n\r\n{}\r\n" + CLOSING_BOUNDARY,
            )
        ],
        (
            MULTIPART,
            POSTS + b"".join(file_part(b"%d" % i, b"1") for i in range(1000)) + CLOSING_BOUNDARY,
        ),
        (MULTIPART, part_with_header(b"a", b"b" * (8 << 20))),
        (MULTIPART, part_with_header(b"b" * (8 << 20), b"a")),
        (MULTIPART, part_with_header(b"a", b"b\r\na: b" * 1_000_000)),
        *[
            (MULTIPART, POSTS + file_part(b"f", p * ((8 << 20) // len(p))) + CLOSING_BOUNDARY)
            for p in REPEATED
        ],
        (
            MULTIPART,
            b'--x\r\ncontent-disposition: form-data; name="posts"\r\n'
            b"content-type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n{}\r\n--y--\r\n"
            + CLOSING_BOUNDARY,
        ),
    ],
    413: [(JSON, b"[" * 200_000), (JSON, b'{"a":' * 200_000), (JSON, b"," * 200_000)],
    415: [
        *[
            (
                f"{MULTIPART}; charset={c}",
                POSTS + file_part(b"\\ud800xn--", b"1") + CLOSING_BOUNDARY,
            )
            for c in UNUSUAL_CODECS.split()
        ],
        *[(x, b"{}") for x in ("", "text/plain", "application/jsonx", "multipart/mixed")],
        ("application/x-www-form-urlencoded", b"posts=%7B%7D"),
    ],
    200: [
        (f"{MULTIPART}; charset=UTF-8", POSTS + CLOSING_BOUNDARY),
        *[
            (JSON, post_with_meta(x))
            for x in (b"1e999", b"[-1e999]", b"[" * 190 + b"]" * 190, b"9" * 4000)
        ],
        *[(JSON, b'{"text": "a", "aspects": %b}' % a) for a in (b'"a"', b"{}", b"[[]]", b"[null]")],
        *[
            (JSON, b'{"text": "a", "aspects": [{"term": "a", "start": %b}]}' % s)
            for s in (b"-1", b"0.5", b"9" * 4000, b"true", b'"0"', b"null")
        ],
        (JSON, json.dumps({"text": "a", "aspects": ["a" * 30_000]}).encode()),
        (JSON, b'{"text": "a", "__proto__": {"x": 1}}'),
    ],
}


def post_body(quick_service, kind, body, headers=b"connection: close\r\n"):
    head = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: " + kind.encode()
    return exchange(
        quick_service, head + b"\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), headers, body)
    )


def exchange(quick_service, data):
    """The statuses and bytes that come back until the line is cut."""
    received = b""
    with quick_service.connect() as connection:
        try:
            connection.sendall(data)
            while piece := connection.recv(1 << 16):
                received += piece
        except ConnectionError:
            pass  # cut while we still spoke
    return [int(x) for x in re.findall(rb"HTTP/1\.1 (\d+)", received)], received


@pytest.mark.parametrize("status", BODIES)
def test_malformed_bodies_get_specific_status_in_bounded_time(quick_service, status):
    process = psutil.Process()
    post_body(quick_service, *BODIES[status][0])
    before = process.memory_info().rss
    for kind, body in BODIES[status]:
        started = time.monotonic()
        statuses, received = post_body(quick_service, kind, body)
        assert statuses == [status], (kind, body[:80], received[-300:])
        assert time.monotonic() - started < 5
        assert status == 200 or json.loads(received.rpartition(b"\r\n\r\n")[2])["error"]["hint"]
    assert process.memory_info().rss - before < 100 << 20
    assert quick_service.log_events("fault") == []


def test_non_finite_numbers_and_long_aspects_are_refused(quick_service):
    for number in (b"1e999", b"-1e999", b'[1, {"b": 1e400}]'):
        _, received = post_body(quick_service, JSON, post_with_meta(number))
        assert b"finite" in received
    _, received = post_body(
        quick_service, JSON, json.dumps({"text": "a", "aspects": ["b" * 19_999]}).encode()
    )
    assert b'"example"' in received
    for aspects in (["b" * 20_000], ["b" * 19_000, {"term": "c" * 1_000}]):
        _, received = post_body(
            quick_service, JSON, json.dumps({"text": "a", "aspects": aspects}).encode()
        )
        assert b"20,001 characters, over the limit of 20,000" in received


HEAD = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
BODY = b'{"text": "a"}'
LENGTH = b"content-length: 13\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
INNER = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
SMUGGLED = [
    HEAD + LENGTH + CHUNKED + b"\r\n0\r\n\r\n" + INNER,
    HEAD + CHUNKED + LENGTH + b"\r\nd\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER,
    HEAD + LENGTH + b"content-length: 3\r\n\r\n" + BODY + INNER,
    HEAD + b"transfer-encoding: xchunked\r\n\r\nd\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER,
    HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
    HEAD + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" + INNER,
    HEAD + b"content-length: +13\r\n\r\n" + BODY + INNER,
    HEAD + b"content-length: 1_3\r\n\r\n" + BODY + INNER,
    HEAD + b"content-length: " + b"9" * 5000 + b"\r\n\r\n" + BODY + INNER,
    HEAD + CHUNKED + b"\r\n-d\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER,
    HEAD + CHUNKED + b"\r\n0xd\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER,
    HEAD + b"host: evil.example\r\n" + LENGTH + b"\r\n" + BODY + INNER,
]


@pytest.mark.parametrize("data", SMUGGLED)
def test_smuggled_request_is_not_answered(quick_service, data):
    statuses, received = exchange(quick_service, data)
    assert statuses == [400]
    assert b"gen_msa_requests" not in received


GARBAGE = [b"\r\n" * 50_000, b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00" * 99]
GARBAGE += [b"GET /" + b"a" * 200_000, HEAD + b"x: y\r\n" * 50_000, HEAD + b"x: a\0b\r\n\r\n"]
GARBAGE += [
    HEAD + CHUNKED + b"\r\nd;" + b"e" * 200_000,
    HEAD + CHUNKED + b"\r\n0\r\n" + b"x: y\r\n" * 50_000,
]
GARBAGE += [b"GET " + t + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" for t in (
    b"*", b"//healthz", b"/%2e%2e/etc/passwd", b"/docs/../../etc/passwd", b"/%00",
    b"/\xff", b"/%ff", b"http://evil.example/healthz", b"/healthz?" + b"a=b&" * 10_000,
)]  # fmt: skip
GARBAGE += [m + b" /v1/explain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" for m in (
    b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PUT", b"DELETE", b"X" * 5000,
)]  # fmt: skip


def test_garbage_is_refused_without_server_error(quick_service):
    statuses = Counter(s for data in GARBAGE for s in exchange(quick_service, data)[0])
    assert set(statuses) <= {200, 400, 404, 405}
    assert quick_service.client.get("/healthz").status_code == 200


def test_1000_pipelined_requests_are_answered_in_order(quick_service):
    bodies = [b'{"id": "%d", "text": "a"}' % i for i in range(1000)]
    requests = [HEAD + b"content-length: %d\r\n\r\n%b" % (len(b), b) for b in bodies]
    requests[-1] = requests[-1].replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    statuses, received = exchange(quick_service, b"".join(requests))
    assert statuses == [200] * 1000
    assert [int(x) for x in re.findall(rb'"post":\{"id":"(\d+)"', received)] == list(range(1000))


def test_disconnected_clients_leave_no_state_or_output(quick_service, caplog, capfd):
    for partial in (HEAD, HEAD + LENGTH + b"\r\n" + BODY[:5], HEAD + LENGTH + b"\r\n" + BODY) * 20:
        with quick_service.connect() as connection:
            connection.sendall(partial)
    post_body(quick_service, "multipart/form-data; boundary=x", b"--xx\r\n")
    server = quick_service.server
    wait_for(lambda: not server._server.server_state.connections)
    wait_for(lambda: (server.service._in_flight, server.service._body_budget._held_bytes) == (0, 0))
    gc.collect()
    assert [r.getMessage() for r in caplog.records] == []
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="module")
def strict_service():
    with run_service(*LIMITS, "bad_image=drop") as service:
        yield service


def test_pickles_are_refused_as_posts_and_images(strict_service, tmp_path):
    """Fault 10 on the service."""
    quick_service = strict_service
    for i, data in enumerate(payloads(tmp_path / "canary")):
        (status,), _ = post_body(quick_service, JSON if i % 2 else "application/octet-stream", data)
        assert status in (400, 413, 415)
        posts = json.dumps({"text": "a", "images": ["a.png"]}).encode()
        body = (
            POSTS.replace(b'{"text": "a"}', posts)
            + file_part(b"a.png", data.replace(b"\r", b""))
            + CLOSING_BOUNDARY
        )
        (status,), received = post_body(quick_service, MULTIPART, body)
        assert status == 200
        assert b'"error"' in received
    assert not (tmp_path / "canary").exists()
