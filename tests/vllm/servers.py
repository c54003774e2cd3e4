"""`gen-msa serve vllm:…` in a process of its own, for as long as a test needs it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import gen_msa

ROOT = Path(gen_msa.__file__).parent.parent


class ServerProcess:
    """A server; `events` are the lines of its JSON log so far."""

    def __init__(self, process, port, log):
        self.process, self.port, self.log = process, port, log
        self.url = f"http://127.0.0.1:{port}"

    def events(self):
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(x) for x in lines if x.startswith('{"time"')]

    def event(self, name):
        return next((e for e in self.events() if e["event"] == name), None)

    def wait(self, name, seconds=600):
        deadline = time.monotonic() + seconds
        while not (logged := self.event(name)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-6000:]
                raise AssertionError(f"{name} did not happen (code {self.process.poll()}):\n{tail}")
            time.sleep(0.2)
        return logged

    def kill(self):
        """Kill vLLM with all its processes, as an out-of-memory killer would."""
        os.killpg(self.event("starting")["pid"], signal.SIGKILL)
        self.process.wait(60)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start_server(target, log, *settings, port=None, **environment):
    port = port or free_port()
    command = [sys.executable, "-m", "gen_msa", "serve", f"vllm:{target}", f"port={port}"]
    options = ["backend.dtype=float32", "stop_seconds=20", *settings]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, *options],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", **environment},
        )
    return ServerProcess(process, port, log)


@contextmanager
def running_server(target, folder, *settings, **environment):
    server = start_server(target, folder / "server.log", *settings, **environment)
    try:
        server.wait("ready")
        yield server
    finally:
        server.process.terminate()
        server.process.wait(90)
