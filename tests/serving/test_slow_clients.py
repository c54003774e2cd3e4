"""A client that dawdles is cut in bounded time; others are served meanwhile."""

import http.client
import socket
import time

import pytest

from tests.serving.doubles import FakePredictor, run_service, wait_for

LIMITS = (
    "limits.header_seconds=0.6",
    "limits.body_seconds=0.6",
    "limits.write_seconds=0.6",
    "limits.body_bytes=4000000",
)
HEAD = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def quick_service():
    with run_service(*LIMITS) as service:
        yield service


def send_slowly(connection, piece, seconds=10):
    """Send `piece` again and again; what came back, and after how long the line was cut."""
    started, received = time.monotonic(), b""
    connection.settimeout(0.05)
    while time.monotonic() - started < seconds:
        try:
            connection.sendall(piece)
        except OSError:
            break
        try:
            data = connection.recv(1 << 16)
            received += data
            if not data:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return received, time.monotonic() - started


@pytest.mark.parametrize("head", [b"", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"])
def test_slow_headers_are_cut(quick_service, head):
    with quick_service.connect() as connection:
        connection.sendall(head)
        received, seconds = send_slowly(connection, b"x" if not head else b"a: b\r\n")
        assert seconds < 5
        assert b"200" not in received
    assert quick_service.client.get("/healthz").status_code == 200


def test_idle_connection_is_cut(quick_service):
    with quick_service.connect() as connection:
        started = time.monotonic()
        assert connection.recv(100) == b""
        assert time.monotonic() - started < 5


def test_slow_second_request_on_connection_is_cut(quick_service):
    with quick_service.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received, seconds = send_slowly(connection, b"")
        assert received.startswith(b"HTTP/1.1 200")
        assert seconds < 5
    with quick_service.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /he")
        received, seconds = send_slowly(connection, b"a")
        assert received.count(b"HTTP/1.1 ") <= 2
        assert seconds < 5


def test_slow_body_gives_408(quick_service):
    with quick_service.connect() as connection:
        connection.sendall(HEAD + b"content-length: 1000\r\n\r\n")
        received, seconds = send_slowly(connection, b" ")
        assert received.startswith(b"HTTP/1.1 408")
        assert seconds < 5
    assert quick_service.explain({"text": "a"}).status_code == 200
    assert quick_service.server.service._in_flight == 0


def test_slow_chunks_after_refusal_do_not_hold_connection(quick_service):
    with quick_service.connect() as connection:
        connection.sendall(HEAD + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        received, seconds = send_slowly(connection, b"1\r\n \r\n")
        assert received.startswith(b"HTTP/1.1 415")
        assert seconds < 5


def test_unread_response_is_cut(quick_service):
    body = b'[{"text": "a", "meta": {"k": "' + b"z" * 3_000_000 + b'"}}]'
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(quick_service.address)
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        connections = quick_service.server._server.server_state.connections
        wait_for(lambda: any(c.transport.get_write_buffer_size() for c in list(connections)))
        wait_for(lambda: not any(c.transport.get_write_buffer_size() for c in list(connections)), 4)
    assert quick_service.explain({"text": "a"}).status_code == 200


def test_busy_connection_stays_open(quick_service):
    deadline = time.monotonic() + 1.5
    connection = http.client.HTTPConnection(*quick_service.address, timeout=5)
    connection.connect()
    original_socket = connection.sock
    while time.monotonic() < deadline:
        connection.request("GET", "/healthz")
        reply = connection.getresponse()
        assert reply.read()
        assert reply.status == 200
        assert connection.sock is original_socket
        time.sleep(0.1)
    connection.close()


def test_slow_answer_is_not_cut_by_header_timeout():
    body = b'{"text": "SLOW"}'
    request = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    with (
        run_service(*LIMITS, make_predictor=lambda root: FakePredictor(root, delay=1.5)) as service,
        service.connect() as connection,
    ):
        connection.sendall(
            request + request
        )  # the second waits for the first on the same connection
        received, _ = send_slowly(connection, b"")
        assert received.count(b"HTTP/1.1 200") == 2


def test_connections_over_limit_get_503():
    with run_service("limits.connections=3", "limits.header_seconds=5") as service:
        connections = [service.connect() for _ in range(3)]
        wait_for(lambda: len(service.server._server.server_state.connections) == 3)
        with service.connect() as extra_connection:
            extra_connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            received, seconds = send_slowly(extra_connection, b"")
            assert received.startswith(b"HTTP/1.1 503")
            assert seconds < 4
        for connection in connections:
            connection.close()
        wait_for(lambda: not service.server._server.server_state.connections)
        assert service.explain({"text": "a"}).status_code == 200
