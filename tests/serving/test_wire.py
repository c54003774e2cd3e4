"""Odd requests, byte by byte: each is answered by name or cut, none is a server error."""

import gc
import json
import re
import time
from collections import Counter

import psutil
import pytest

from tests.data.test_pickles import payloads
from tests.serving.doubles import served, wait_for

JSON = "application/json"
PARTS = "multipart/form-data; boundary=x"
POSTS = b'--x\r\ncontent-disposition: form-data; name="posts"\r\n\r\n{"text": "a"}\r\n'
END = b"--x--\r\n"
LIMITS = ("limits.header_seconds=1", "limits.body_seconds=2")


@pytest.fixture(scope="module")
def wire():
    with served(*LIMITS) as it:
        yield it


def file(name, data, more=b""):
    head = b'--x\r\ncontent-disposition: form-data; name="f"; filename="' + name + b'"' + more
    return head + b"\r\n\r\n" + data + b"\r\n"


def told(name, value):
    """A part `posts` with one more header."""
    head = b'--x\r\ncontent-disposition: form-data; name="posts"\r\n' + name + b": " + value
    return head + b"\r\n\r\n{}\r\n" + END


def meta(value):
    return b'{"text": "a", "meta": {"a": ' + value + b"}}"


ODD = "utf-7 unicode_escape raw_unicode_escape idna punycode undefined utf-16 utf-32 hex zip cp437"
PILES = [b"\r", b"\n", b"\r\n", b"\r\n-", b"\r\n--", b"\r\n--y", b"-", b"\0"]
BODIES = {
    400: [
        *[(JSON, meta(x)) for x in (b"NaN", b"Infinity", b"9" * 5000, b"[" * 300 + b"]" * 300)],
        *[(JSON, rb'{"text": "\ud800"}'), (JSON, rb'{"text": "\udc00\ud800"}')],
        *[(JSON, b'{"text": "\xed\xa0\x80"}'), (JSON, b'{"text": "\xff"}'), (JSON, b"")],
        *[(JSON, '{"text": "a"}'.encode(c)) for c in ("utf-8-sig", "utf-16", "utf-32")],
        *[(JSON, x) for x in (b"null", b'"x"', b"1", b"[]", b'{"text": "a"} x', b'{"posts": 1}')],
        *[(f"multipart/form-data{x}", POSTS + END) for x in ("", '; boundary=""', "; boundary=y")],
        *[(PARTS, x) for x in (b"", POSTS[:30], POSTS + POSTS + END, b"--x\r\n\r\n{}\r\n" + END)],
        (PARTS, POSTS + b"".join(file(b"%d" % i, b"1") for i in range(1000)) + END),
        (PARTS, told(b"a", b"b" * (8 << 20))),
        (PARTS, told(b"b" * (8 << 20), b"a")),
        (PARTS, told(b"a", b"b\r\na: b" * 1_000_000)),
        *[(PARTS, POSTS + file(b"f", p * ((8 << 20) // len(p))) + END) for p in PILES],
        (PARTS, b'--x\r\ncontent-disposition: form-data; name="posts"\r\n'
         b"content-type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n{}\r\n--y--\r\n" + END),
    ],
    413: [(JSON, b"[" * 200_000), (JSON, b'{"a":' * 200_000), (JSON, b"," * 200_000)],
    415: [
        *[(f"{PARTS}; charset={c}", POSTS + file(b"\\ud800xn--", b"1") + END) for c in ODD.split()],
        *[(x, b"{}") for x in ("", "text/plain", "application/jsonx", "multipart/mixed")],
        ("application/x-www-form-urlencoded", b"posts=%7B%7D"),
    ],
    200: [
        (f"{PARTS}; charset=UTF-8", POSTS + END),
        *[(JSON, meta(x)) for x in (b"1e999", b"[-1e999]", b"[" * 190 + b"]" * 190, b"9" * 4000)],
        *[(JSON, b'{"text": "a", "aspects": %b}' % a) for a in (b'"a"', b"{}", b"[[]]", b"[null]")],
        *[(JSON, b'{"text": "a", "aspects": [{"term": "a", "start": %b}]}' % s)
          for s in (b"-1", b"0.5", b"9" * 4000, b"true", b'"0"', b"null")],
        (JSON, json.dumps({"text": "a", "aspects": ["a" * 30_000]}).encode()),
        (JSON, b'{"text": "a", "text": "b", "__proto__": {"x": 1}}'),
    ],
}  # fmt: skip


def post(wire, kind, body, more=b"connection: close\r\n"):
    head = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: " + kind.encode()
    return sent(wire, head + b"\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), more, body))


def sent(wire, data):
    """The statuses and bytes that come back until the line is cut."""
    came = b""
    with wire.raw() as line:
        try:
            line.sendall(data)
            while got := line.recv(1 << 16):
                came += got
        except ConnectionError:
            pass  # cut while we still spoke
    return [int(x) for x in re.findall(rb"HTTP/1\.1 (\d+)", came)], came


@pytest.mark.parametrize("status", BODIES)
def test_odd_bodies_are_answered_by_name_in_bounded_memory_and_time(wire, status):
    process = psutil.Process()
    post(wire, *BODIES[status][0])
    before = process.memory_info().rss
    for kind, body in BODIES[status]:
        began = time.monotonic()
        found, came = post(wire, kind, body)
        assert found == [status], (kind, body[:80], came[-300:])
        assert time.monotonic() - began < 5
        assert status == 200 or json.loads(came.rpartition(b"\r\n\r\n")[2])["error"]["mend"]
    assert process.memory_info().rss - before < 100 << 20
    assert wire.logged("fault") == []


def test_numbers_that_json_cannot_say_and_long_aspects_are_refused_not_changed(wire):
    for odd in (b"1e999", b"-1e999", b'[1, {"b": 1e400}]'):
        _, came = post(wire, JSON, meta(odd))
        assert b"finite" in came
    _, came = post(wire, JSON, json.dumps({"text": "a", "aspects": ["b" * 19_999]}).encode())
    assert b'"example"' in came
    for aspects in (["b" * 20_000], ["b" * 19_000, {"term": "c" * 1_000}]):
        _, came = post(wire, JSON, json.dumps({"text": "a", "aspects": aspects}).encode())
        assert b"20,001 characters, over the limit of 20,000" in came


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
def test_a_request_whose_end_two_readers_may_see_elsewhere_is_the_last_of_its_line(wire, data):
    found, came = sent(wire, data)
    assert found == [400]
    assert b"gen_msa_requests" not in came


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


def test_garbage_is_refused_or_cut_and_never_a_server_error(wire):
    statuses = Counter(s for data in GARBAGE for s in sent(wire, data)[0])
    assert set(statuses) <= {200, 400, 404, 405}
    assert wire.client.get("/healthz").status_code == 200


def test_a_thousand_requests_on_one_line_are_answered_in_order(wire):
    bodies = [b'{"id": "%d", "text": "a"}' % i for i in range(1000)]
    lines = [HEAD + b"content-length: %d\r\n\r\n%b" % (len(b), b) for b in bodies]
    lines[-1] = lines[-1].replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    found, came = sent(wire, b"".join(lines))
    assert found == [200] * 1000
    assert [int(x) for x in re.findall(rb'"post":\{"id":"(\d+)"', came)] == list(range(1000))


def test_clients_that_go_leave_nothing_behind_nor_beside_the_log(wire, caplog, capfd):
    for cut in (HEAD, HEAD + LENGTH + b"\r\n" + BODY[:5], HEAD + LENGTH + b"\r\n" + BODY) * 20:
        with wire.raw() as line:
            line.sendall(cut)
    post(wire, "multipart/form-data; boundary=x", b"--xx\r\n")
    running = wire.running
    wait_for(lambda: not running._server.server_state.connections)
    wait_for(lambda: (running.service._flying, running.service._room._held) == (0, 0))
    gc.collect()
    assert [r.getMessage() for r in caplog.records] == []
    assert capfd.readouterr().err == ""


def test_pickles_are_no_posts_and_no_pictures(wire, tmp_path):
    """Fault 10 on the service."""
    for i, data in enumerate(payloads(tmp_path / "canary")):
        (found,), _ = post(wire, JSON if i % 2 else "application/octet-stream", data)
        assert found in (400, 413, 415)
        posts = json.dumps({"text": "a", "pictures": ["a.png"]}).encode()
        body = (
            POSTS.replace(b'{"text": "a"}', posts) + file(b"a.png", data.replace(b"\r", b"")) + END
        )
        (found,), came = post(wire, PARTS, body)
        assert found == 200
        assert b'"error"' in came
    assert not (tmp_path / "canary").exists()
