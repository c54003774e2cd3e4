"""Told to stop, the service ends what it has begun and exits 0; a reader that fails ends it too."""

import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from gen_msa.cli.serve import serve
from gen_msa.errors import MissingExtra, UserError
from gen_msa.readers import Reading
from gen_msa.serving.logs import Log
from gen_msa.serving.running import Running
from gen_msa.serving.settings import ServeSettings
from gen_msa.types import Opinion, Status
from tests.serving.doubles import Mirror, opinion, served, wait_for

PLAIN = ["echo", "port=0", "prompt=reader/plain", "cues={}"]
SLOW = """
import sys
from gen_msa.serving.running import Running
from gen_msa.serving.settings import ServeSettings
from gen_msa.serving.logs import Log
from tests.serving.doubles import Mirror
settings = ServeSettings(reader="mirror", port=0)
Running(settings, "", log=Log(), load=lambda root: Mirror(root, slow=1.0)).run()
"""


class Process:
    """A service in a process of its own; its log is read as it comes."""

    def __init__(self, *command):
        environment = {k: v for k, v in os.environ.items() if k != "GEN_MSA_TOKEN"}
        self.process = subprocess.Popen(
            [sys.executable, *command], stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines = []
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def _read(self):
        self.lines.extend(self.process.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.reading.join(10)
        self.process.stderr.close()

    def event(self, name):
        found = [json.loads(x) for x in list(self.lines) if x.startswith("{") and x.endswith("}\n")]
        return next((x for x in found if x["event"] == name), None)

    def url(self):
        wait_for(lambda: self.event("ready") or self.process.poll() is not None, 60, "ready")
        return self.event("listening")["url"]


def test_sigterm_ends_what_is_in_flight_takes_nothing_new_and_exits_0():
    with Process("-c", SLOW) as it:
        url = it.url()
        replies = []
        ask = {"text": "SLOW one"}
        asking = threading.Thread(
            target=lambda: replies.append(httpx.post(f"{url}/v1/explain", json=ask, timeout=20))
        )
        asking.start()
        flying = "gen_msa_requests_in_flight 1.0"
        wait_for(lambda: flying in httpx.get(f"{url}/metrics").text)
        it.process.send_signal(signal.SIGTERM)
        port = int(url.rpartition(":")[2])

        def closed():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) != 0

        wait_for(closed, what="the door closed")
        asking.join()
        assert replies[0].json()["answers"][0]["example"]["opinions"]
        assert it.process.wait(20) == 0
        it.reading.join(5)
        assert it.event("stopped")


def test_the_command_serves_and_ctrl_c_ends_it_with_0():
    with Process("-m", "gen_msa", "serve", *PLAIN) as it:
        url = it.url()
        told = httpx.post(f"{url}/v1/explain", json={"text": "Fine soup", "aspects": ["soup"]})
        assert told.json()["answers"][0]["example"]["opinions"][0]["by"] == "echo"
        it.process.send_signal(signal.SIGINT)
        assert it.process.wait(20) == 0


def test_requests_that_outlast_the_limit_are_cut_and_the_service_ends():
    gate = threading.Event()
    with served("limits.stop_seconds=1", reader=lambda root: Mirror(root, gate=gate)) as it:
        replies = []

        def ask():
            try:
                replies.append(it.explain({"text": "long"}).status_code)
            except httpx.TransportError as e:
                replies.append(type(e).__name__)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(lambda: it.reader.batches)
        began = time.monotonic()
        it.running.stop()
        wait_for(lambda: it.logged("stopped"), 10)
        assert time.monotonic() - began < 5
        asking.join()
        gate.set()
        assert replies[0] != 200


def test_health_is_503_and_posts_are_refused_until_the_reader_is_loaded():
    loaded = threading.Event()

    def late(root):
        assert loaded.wait(20)
        return Mirror(root)

    with served(reader=late, ready=False) as it:
        health = it.client.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        reply = it.explain({"text": "a"})
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "1"
        loaded.set()
        wait_for(lambda: it.client.get("/healthz").status_code == 200)
        assert it.explain({"text": "a"}).status_code == 200


class Late(Mirror):
    """Its model's server answers from the third question on; it cannot find aspects."""

    def __init__(self, root):
        super().__init__(root)
        self.asked = 0

    def read(self, posts):
        if posts[0].id != "probe":
            return super().read(posts)
        self.asked += 1
        if not posts[0].aspects:
            raise UserError("no parser", mend="get one")
        if self.asked < 5:
            about = posts[0].aspects[0]
            lost = Opinion(by="x", aspect=about, status=Status.ERROR, how={"error": "no server"})
            return [Reading((lost,))]
        return [Reading((opinion("fine", posts[0].aspects[0]),))]


def test_it_is_ready_once_its_model_answers_and_says_what_it_cannot_do():
    with served(reader=Late, ready=False) as it:
        wait_for(lambda: it.logged("not ready"))
        assert it.client.get("/healthz").json()["status"] == "loading"
        wait_for(lambda: it.client.get("/healthz").status_code == 200)
        assert {x["reason"] for x in it.logged("not ready")} == {"no server"}
        assert [(x["reason"], x["mend"]) for x in it.logged("limited")] == [
            ("no parser", "get one")
        ]
        assert it.explain({"text": "a", "aspects": ["a"]}).status_code == 200


def test_it_stops_while_its_model_does_not_answer():
    class Never(Late):
        def read(self, posts):
            self.asked = 0
            return super().read(posts)

    with served(reader=Never, ready=False) as it:
        wait_for(lambda: it.logged("not ready"))
    assert it.logged("ready") == []


def test_a_reader_that_cannot_be_loaded_ends_the_service_with_its_reason():
    def bad(root):
        raise UserError("no weights here", mend="get some")

    running = Running(ServeSettings(reader="mirror", port=0), "", log=Log(), load=bad)
    with pytest.raises(UserError, match="no weights here"):
        running.run()


def test_the_command_says_what_to_install_when_the_server_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtra, match=r"gen-msa\[serve\]"):
        serve("echo", ["port=0"])


def test_it_listens_on_ipv6_too():
    with socket.socket(socket.AF_INET6) as s:
        if s.connect_ex(("::1", 9)) not in (0, errno.ECONNREFUSED):
            pytest.skip("this machine has no ::1")
    running = Running(
        ServeSettings(reader="mirror", host="::1", port=0), "", log=Log(io.StringIO()), load=Mirror
    )
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        wait_for(lambda: running.service.desk.state() == "ready")
        assert httpx.post(f"{running.url}/v1/explain", json={"text": "a"}).status_code == 200
    finally:
        running.stop()
        thread.join()


def test_a_port_that_is_taken_is_a_user_error(service):
    settings = ServeSettings(reader="mirror", port=service.address[1])
    with pytest.raises(UserError, match="cannot be listened on"):
        Running(settings, "", log=Log())
