"""Shutdown answers the requests in flight and exits 0; a model that fails ends the service, too."""

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
from gen_msa.predictors import Prediction
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.server import Server
from gen_msa.serving.settings import ServeSettings
from gen_msa.types import Opinion, Status
from tests.serving.doubles import FakePredictor, fake_opinion, run_service, wait_for

ECHO_ARGS = ["echo", "port=0", "prompt=predict/plain", "cues={}"]
SLOW_SERVICE_SCRIPT = """
import sys
from gen_msa.serving.server import Server
from gen_msa.serving.settings import ServeSettings
from gen_msa.serving.logs import JsonLog
from tests.serving.doubles import FakePredictor
settings = ServeSettings(model="mirror", port=0)
Server(settings, "", log=JsonLog(), load=lambda root: FakePredictor(root, delay=1.0)).run()
"""


class ServiceProcess:
    """A service in a process of its own; its log is read as it comes."""

    def __init__(self, *command):
        environment = {k: v for k, v in os.environ.items() if k != "GEN_MSA_TOKEN"}
        self.process = subprocess.Popen(
            [sys.executable, *command], stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines = []
        self.log_thread = threading.Thread(target=self._read, daemon=True)
        self.log_thread.start()

    def _read(self):
        self.lines.extend(self.process.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.log_thread.join(10)
        self.process.stderr.close()

    def event(self, name):
        events = [
            json.loads(x) for x in list(self.lines) if x.startswith("{") and x.endswith("}\n")
        ]
        return next((x for x in events if x["event"] == name), None)

    def url(self):
        wait_for(lambda: self.event("ready") or self.process.poll() is not None, 60, "ready")
        return self.event("listening")["url"]


def test_sigterm_finishes_requests_in_flight_and_exits_0():
    with ServiceProcess("-c", SLOW_SERVICE_SCRIPT) as service_process:
        url = service_process.url()
        replies = []
        body = {"text": "SLOW one"}
        request_thread = threading.Thread(
            target=lambda: replies.append(httpx.post(f"{url}/v1/explain", json=body, timeout=20))
        )
        request_thread.start()
        in_flight = "gen_msa_requests_in_flight 1.0"
        wait_for(lambda: in_flight in httpx.get(f"{url}/metrics").text)
        service_process.process.send_signal(signal.SIGTERM)
        port = int(url.rpartition(":")[2])

        def is_closed():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) != 0

        wait_for(is_closed, description="the door closed")
        request_thread.join()
        assert replies[0].json()["answers"][0]["example"]["opinions"]
        assert service_process.process.wait(20) == 0
        service_process.log_thread.join(5)
        assert service_process.event("stopped")


def test_serve_command_exits_0_on_sigint():
    with ServiceProcess("-m", "gen_msa", "serve", *ECHO_ARGS) as service_process:
        url = service_process.url()
        reply = httpx.post(f"{url}/v1/explain", json={"text": "Fine soup", "aspects": ["soup"]})
        assert reply.json()["answers"][0]["example"]["opinions"][0]["annotator"] == "echo"
        service_process.process.send_signal(signal.SIGINT)
        assert service_process.process.wait(20) == 0


def test_requests_over_stop_timeout_are_cut():
    release = threading.Event()
    with run_service(
        "limits.stop_seconds=1", make_predictor=lambda root: FakePredictor(root, release=release)
    ) as service:
        replies = []

        def ask():
            try:
                replies.append(service.explain({"text": "long"}).status_code)
            except httpx.TransportError as e:
                replies.append(type(e).__name__)

        request_thread = threading.Thread(target=ask)
        request_thread.start()
        wait_for(lambda: service.predictor.batches)
        started = time.monotonic()
        service.server.stop()
        wait_for(lambda: service.log_events("stopped"), 10)
        assert time.monotonic() - started < 5
        request_thread.join()
        release.set()
        assert replies[0] != 200


def test_health_is_503_until_predictor_is_loaded():
    loaded = threading.Event()

    def load_predictor(root):
        assert loaded.wait(20)
        return FakePredictor(root)

    with run_service(make_predictor=load_predictor, ready=False) as service:
        health = service.client.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        reply = service.explain({"text": "a"})
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "1"
        loaded.set()
        wait_for(lambda: service.client.get("/healthz").status_code == 200)
        assert service.explain({"text": "a"}).status_code == 200


class LatePredictor(FakePredictor):
    """Its model's server answers from the third question on; it cannot find aspects."""

    def __init__(self, root):
        super().__init__(root)
        self.n_probes = 0

    def predict(self, posts):
        if posts[0].id != "probe":
            return super().predict(posts)
        self.n_probes += 1
        if not posts[0].aspects:
            raise UserError("no parser", hint="get one")
        if self.n_probes < 5:
            aspect = posts[0].aspects[0]
            failed = Opinion(
                annotator="x", aspect=aspect, status=Status.ERROR, provenance={"error": "no server"}
            )
            return [Prediction((failed,))]
        return [Prediction((fake_opinion("fine", posts[0].aspects[0]),))]


def test_service_is_ready_once_its_model_answers():
    with run_service(make_predictor=LatePredictor, ready=False) as service:
        wait_for(lambda: service.log_events("not ready"))
        assert service.client.get("/healthz").json()["status"] == "loading"
        wait_for(lambda: service.client.get("/healthz").status_code == 200)
        assert {x["reason"] for x in service.log_events("not ready")} == {"no server"}
        assert [(x["reason"], x["hint"]) for x in service.log_events("limited")] == [
            ("no parser", "get one")
        ]
        assert service.explain({"text": "a", "aspects": ["a"]}).status_code == 200


def test_service_stops_while_its_model_does_not_answer():
    class Never(LatePredictor):
        def read(self, posts):
            self.n_probes = 0
            return super().predict(posts)

    with run_service(make_predictor=Never, ready=False) as service:
        wait_for(lambda: service.log_events("not ready"))
    assert service.log_events("ready") == []


def test_predictor_load_error_ends_service():
    def load_predictor(root):
        raise UserError("no weights here", hint="get some")

    server = Server(ServeSettings(model="mirror", port=0), "", log=JsonLog(), load=load_predictor)
    with pytest.raises(UserError, match="no weights here"):
        server.run()


def test_serve_command_names_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtra, match=r"gen-msa\[serve\]"):
        serve("echo", ["port=0"])


def test_service_listens_on_ipv6():
    with socket.socket(socket.AF_INET6) as s:
        if s.connect_ex(("::1", 9)) not in (0, errno.ECONNREFUSED):
            pytest.skip("this machine has no ::1")
    server = Server(
        ServeSettings(model="mirror", host="::1", port=0),
        "",
        log=JsonLog(io.StringIO()),
        load=FakePredictor,
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.service.batcher.state() == "ready")
        assert httpx.post(f"{server.url}/v1/explain", json={"text": "a"}).status_code == 200
    finally:
        server.stop()
        thread.join()


def test_port_in_use_raises_user_error(service):
    settings = ServeSettings(model="mirror", port=service.address[1])
    with pytest.raises(UserError, match="cannot listen on"):
        Server(settings, "", log=JsonLog())
