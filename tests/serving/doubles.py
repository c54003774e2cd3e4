"""A reader that answers from the text alone, and a service around it on a free port."""

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
from gen_msa.readers import Reading
from gen_msa.serving.logs import Log
from gen_msa.serving.running import Running
from gen_msa.serving.settings import ServeSettings
from gen_msa.settings import load
from gen_msa.types import WHOLE_POST, Opinion, Polarity


class Mirror:
    """Says of each aspect a polarity that follows from text and term, and repeats the text.

    A text with POISON in it breaks the whole reading, one with REFUSE is refused, BROKEN is a
    `UserError`; SLOW takes a moment.
    """

    def __init__(self, root=Path(), *, gate=None, slow=0.05):
        self.root, self.gate, self.slow = root, gate, slow
        self.batches = []
        self.seen = {}
        self.threads = set()
        self.answered = Counter()

    def read(self, posts):
        self.threads.add(threading.current_thread().name)
        if any(p.id == "probe" for p in posts):
            return [Reading() for _ in posts]
        self.batches.append([p.text for p in posts])
        if self.gate:
            assert self.gate.wait(20)
        if any("SLOW" in p.text for p in posts):
            time.sleep(self.slow)
        if any("POISON" in p.text for p in posts):
            raise RuntimeError(f"a secret of {posts[0].text}")
        if any("BROKEN" in p.text for p in posts):
            raise UserError("the picture is odd", mend="draw another")
        self.answered.update(p.text for p in posts)
        return [self._one(p) for p in posts]

    def _one(self, post):
        if "REFUSE" in post.text:
            return Reading(refused="not today", mend="come tomorrow")
        how = {}
        for m in post.media:
            self.seen[post.text] = (self.root / m.path).read_bytes()
            how["picture"] = f"seen at {m.path}"
        about = post.aspects or (WHOLE_POST,)
        return Reading(tuple(opinion(post.text, a, how) for a in about))

    def preview(self, posts):
        return []

    def fingerprint(self):
        return {"name": "mirror"}


def opinion(text, aspect, how=None):
    says = list(Polarity)[zlib.crc32(f"{text}|{aspect.term}".encode()) % 3]
    return Opinion(by="mirror", aspect=aspect, polarity=says, explanation=text, how=how or {})


class Served:
    """A running service."""

    def __init__(self, running, stream, reader, ended):
        self.running, self.stream, self.reader = running, stream, reader
        self.ended = ended
        self.url = running.url
        host, port = self.url.removeprefix("http://").split(":")
        self.address = (host, int(port))
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def explain(self, body, **more):
        return self.client.post("/v1/explain", json=body, **more)

    def logged(self, event="request"):
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [x for x in lines if x["event"] == event]

    def raw(self, timeout=15):
        return socket.create_connection(self.address, timeout=timeout)


def wait_for(true, seconds=10, what="it"):
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until, f"{what} did not happen in {seconds} s"
        time.sleep(0.005)
    return found


@contextmanager
def served(*overrides, reader=None, token="", ready=True, stream=None):
    """`reader`: made for the media root by this, `Mirror` if not given."""
    settings = load(ServeSettings, overrides=["reader=mirror", "port=0", *overrides])
    stream = stream or io.StringIO()
    made = []

    def make(root):
        made.append((reader or Mirror)(root))
        return made[0]

    running = Running(settings, token, log=Log(stream), load=make)
    ended = []

    def run():
        try:
            running.run()
        except RuntimeError as e:
            ended.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if ready:
            wait_for(lambda: running.service.desk.state() == "ready")
        wait_for(lambda: running._server.started)
        it = Served(running, stream, made[0] if made else None, ended)
        with it.client:
            yield it
    finally:
        running.stop()
        thread.join(30)
        assert not thread.is_alive()
