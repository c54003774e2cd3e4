"""A watchdog on the memory of a service: bodies that wait are bounded together, not one by one."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
pytest.importorskip("python_multipart", reason="python-multipart is not installed")

MIB = 1 << 20
BODY = json.dumps({"text": "Good tea", "meta": {"x": "y" * (8 * MIB)}}).encode()
N_CLIENTS = 16
PATIENCE = ("limits.body_seconds=120", "limits.seconds=120", "limits.header_seconds=120")


@contextmanager
def run_service(*limits):
    command = [
        sys.executable,
        "-m",
        "gen_msa",
        "serve",
        "echo",
        "port=0",
        "cues={}",
        *PATIENCE,
        *limits,
    ]
    environment = {k: v for k, v in os.environ.items() if k != "GEN_MSA_TOKEN"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        url = json.loads(process.stderr.readline())["url"]
        assert json.loads(process.stderr.readline())["event"] == "ready"
        threading.Thread(target=process.stderr.read, daemon=True).start()
        host, port = url.removeprefix("http://").split(":")
        yield process.pid, (host, int(port))
    finally:
        process.terminate()
        process.wait(30)


def memory(pid, field):
    """Return a field of the process's status in bytes: `VmRSS`, or `VmHWM`, its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.M)[1]) * 1024


def hold_body(address, all_sent, body=BODY):
    """Send a body but for its last byte, wait for the others, then finish; return the answer."""
    head = b"POST /v1/explain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(address, timeout=100) as connection:
        with suppress(OSError):
            connection.sendall(head + body[:-1])
        all_sent.wait(90)
        with suppress(OSError):
            connection.sendall(body[-1:])
            return connection.recv(1 << 16)
    return b""


def growth(*limits):
    """Return how much memory large bodies of several clients take at the most, and the answers."""
    with run_service(*limits) as (pid, address):
        idle = memory(pid, "VmRSS")
        answers, all_sent = [], threading.Barrier(N_CLIENTS)

        def client():
            with suppress(threading.BrokenBarrierError):
                answers.append(hold_body(address, all_sent))

        threads = [threading.Thread(target=client) for _ in range(N_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(200)
        answers.append(hold_body(address, threading.Barrier(1), b'{"text": "Good tea"}'))
        return memory(pid, "VmHWM") - idle, answers


def test_bodies_of_all_clients_together_are_bounded():
    bounded, (*refused, honest) = growth("limits.bodies_bytes=33554432")
    assert any(b" 503 " in answer[:20] for answer in refused)
    assert b" 200 " in honest[:20]
    unbounded, _ = growth("limits.bodies_bytes=1073741824")
    assert unbounded > N_CLIENTS * len(BODY)
    assert bounded < 0.6 * unbounded
