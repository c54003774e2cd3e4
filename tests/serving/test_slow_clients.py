"""A client that dawdles is cut in bounded time; others are served meanwhile."""

import http.client
import socket
import time

import pytest

from tests.serving.doubles import Mirror, served, wait_for

LIMITS = (
    "limits.header_seconds=0.6",
    "limits.body_seconds=0.6",
    "limits.write_seconds=0.6",
    "limits.body_bytes=4000000",
)
HEAD = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def quick():
    with served(*LIMITS) as it:
        yield it


def drip(connection, piece, seconds=10):
    """Send `piece` again and again; what came back, and after how long the line was cut."""
    began, came = time.monotonic(), b""
    connection.settimeout(0.05)
    while time.monotonic() - began < seconds:
        try:
            connection.sendall(piece)
        except OSError:
            break
        try:
            got = connection.recv(1 << 16)
            came += got
            if not got:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return came, time.monotonic() - began


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"])
def test_headers_that_come_byte_by_byte(quick, start):
    with quick.raw() as line:
        line.sendall(start)
        came, seconds = drip(line, b"x" if not start else b"a: b\r\n")
        assert seconds < 5
        assert b"200" not in came
    assert quick.client.get("/healthz").status_code == 200


def test_a_line_on_which_nothing_comes(quick):
    with quick.raw() as line:
        began = time.monotonic()
        assert line.recv(100) == b""
        assert time.monotonic() - began < 5


def test_the_headers_of_a_second_request_on_the_same_line(quick):
    with quick.raw() as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        came, seconds = drip(line, b"")
        assert came.startswith(b"HTTP/1.1 200")
        assert seconds < 5
    with quick.raw() as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /he")
        came, seconds = drip(line, b"a")
        assert came.count(b"HTTP/1.1 ") <= 2
        assert seconds < 5


def test_a_body_that_comes_byte_by_byte_is_408(quick):
    with quick.raw() as line:
        line.sendall(HEAD + b"content-length: 1000\r\n\r\n")
        came, seconds = drip(line, b" ")
        assert came.startswith(b"HTTP/1.1 408")
        assert seconds < 5
    assert quick.explain({"text": "a"}).status_code == 200
    assert quick.running.service._flying == 0


def test_chunks_that_trickle_after_a_refusal_do_not_hold_the_line(quick):
    with quick.raw() as line:
        line.sendall(HEAD + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        came, seconds = drip(line, b"1\r\n \r\n")
        assert came.startswith(b"HTTP/1.1 415")
        assert seconds < 5


def test_an_answer_that_nobody_takes(quick):
    body = b'[{"text": "a", "meta": {"k": "' + b"z" * 3_000_000 + b'"}}]'
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(quick.address)
        line.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        connections = quick.running._server.server_state.connections
        wait_for(lambda: any(c.transport.get_write_buffer_size() for c in list(connections)))
        wait_for(lambda: not any(c.transport.get_write_buffer_size() for c in list(connections)), 4)
    assert quick.explain({"text": "a"}).status_code == 200


def test_a_busy_line_is_not_cut(quick):
    until = time.monotonic() + 1.5
    line = http.client.HTTPConnection(*quick.address, timeout=5)
    line.connect()
    same = line.sock
    while time.monotonic() < until:
        line.request("GET", "/healthz")
        reply = line.getresponse()
        assert reply.read()
        assert reply.status == 200
        assert line.sock is same
        time.sleep(0.1)
    line.close()


def test_an_answer_that_takes_longer_than_headers_may_is_waited_for():
    body = b'{"text": "SLOW"}'
    ask = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    with served(*LIMITS, reader=lambda root: Mirror(root, slow=1.5)) as it, it.raw() as line:
        line.sendall(ask + ask)  # the second waits for the first on the same connection
        came, _ = drip(line, b"")
        assert came.count(b"HTTP/1.1 200") == 2


def test_more_lines_than_allowed_are_turned_away():
    with served("limits.connections=3", "limits.header_seconds=5") as it:
        lines = [it.raw() for _ in range(3)]
        wait_for(lambda: len(it.running._server.server_state.connections) == 3)
        with it.raw() as extra:
            extra.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            came, seconds = drip(extra, b"")
            assert came.startswith(b"HTTP/1.1 503")
            assert seconds < 4
        for line in lines:
            line.close()
        wait_for(lambda: not it.running._server.server_state.connections)
        assert it.explain({"text": "a"}).status_code == 200
