"""A model that answers from the text alone, and a service around it on a free port."""

import io
import json
import socket
import threading
import time
import zlib
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
pytest.importorskip("python_multipart", reason="python-multipart is not installed")

from gen_msa.errors import UserError
from gen_msa.predictors import Prediction
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.server import Server
from gen_msa.serving.settings import ServeSettings
from gen_msa.settings import load
from gen_msa.types import OVERALL_ASPECT, Opinion, Polarity


class FakePredictor:
    """Predicts for each aspect a polarity that follows from text and term, and repeats the text.

    A text with POISON in it fails the whole batch, one with REFUSE is refused, BROKEN is a
    `UserError`; SLOW takes a moment.
    """

    def __init__(self, root=Path(), *, release=None, delay=0.05):
        self.root, self.release, self.delay = root, release, delay
        self.batches = []
        self.images = {}
        self.threads = set()
        self.answer_counts = Counter()

    def predict(self, posts):
        self.threads.add(threading.current_thread().name)
        if any(p.id == "probe" for p in posts):
            return [Prediction() for _ in posts]
        self.batches.append([p.text for p in posts])
        if self.release:
            assert self.release.wait(20)
        if any("SLOW" in p.text for p in posts):
            time.sleep(self.delay)
        if any("POISON" in p.text for p in posts):
            raise RuntimeError(f"a secret of {posts[0].text}")
        if any("BROKEN" in p.text for p in posts):
            raise UserError("the image is odd", hint="draw another")
        self.answer_counts.update(p.text for p in posts)
        return [self._predict_one(p) for p in posts]

    def _predict_one(self, post):
        if "REFUSE" in post.text:
            return Prediction(rejection="not today", hint="come tomorrow")
        provenance = {}
        for m in post.media:
            self.images[post.text] = (self.root / m.path).read_bytes()
            provenance["image"] = f"seen at {m.path}"
        aspects = post.aspects or (OVERALL_ASPECT,)
        return Prediction(tuple(fake_opinion(post.text, a, provenance) for a in aspects))

    def preview(self, posts):
        return []

    def fingerprint(self):
        return {"name": "mirror"}


def fake_opinion(text, aspect, provenance=None):
    polarity = list(Polarity)[zlib.crc32(f"{text}|{aspect.term}".encode()) % 3]
    return Opinion(
        annotator="mirror",
        aspect=aspect,
        polarity=polarity,
        explanation=text,
        provenance=provenance or {},
    )


class RunningService:
    """A running service."""

    def __init__(self, server, stream, predictor, errors):
        self.server, self.stream, self.predictor = server, stream, predictor
        self.errors = errors
        self.url = server.url
        host, port = self.url.removeprefix("http://").split(":")
        self.address = (host, int(port))
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def explain(self, body, **options):
        return self.client.post("/v1/explain", json=body, **options)

    def log_events(self, event="request"):
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [x for x in lines if x["event"] == event]

    def connect(self, timeout=15):
        return socket.create_connection(self.address, timeout=timeout)


def wait_for(condition, seconds=10, description="it"):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{description} did not happen in {seconds} s"
        time.sleep(0.005)
    return result


@contextmanager
def run_service(*overrides, make_predictor=None, token="", ready=True, stream=None):
    """Run a service; `make_predictor` gets the media root, `FakePredictor` if not given."""
    settings = load(ServeSettings, overrides=["model=mirror", "port=0", *overrides])
    stream = stream or io.StringIO()
    predictors = []

    def load_predictor(root):
        predictors.append((make_predictor or FakePredictor)(root))
        return predictors[0]

    server = Server(settings, token, log=JsonLog(stream), load=load_predictor)
    errors = []

    def run():
        try:
            server.run()
        except RuntimeError as e:
            errors.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if ready:
            wait_for(lambda: server.service.batcher.state() == "ready")
        wait_for(lambda: server._server.started)
        service = RunningService(server, stream, predictors[0] if predictors else None, errors)
        with service.client:
            yield service
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()
