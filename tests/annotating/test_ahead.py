"""While a model is asked about one chunk, the next is made ready; no picture is decoded twice."""

import threading
import time

import pytest

from gen_msa import media
from gen_msa.annotating import AnnotateSettings, JobSettings, annotate
from gen_msa.annotating._pool import read_alone
from gen_msa.annotating._teaching import Plain, make_teacher
from gen_msa.backends import BackendOptions
from gen_msa.backends.echo import Echo
from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.media import pictures
from gen_msa.readers import Preparing, ReaderSettings, readers
from gen_msa.readers.prompted import Prompted
from gen_msa.types import Example
from tests.fixtures.posts import post, write_picture, write_posts

PATIENCE = 10


class Waiting(Echo):
    """Answers a chunk only once the next one has been made ready."""

    def __init__(self, ready):
        super().__init__("", BackendOptions())
        self.ready, self.chunk, self.waited = ready, 0, []

    def complete(self, requests):
        self.chunk += 1
        if self.chunk < len(self.ready):
            self.waited.append(self.ready[self.chunk].wait(PATIENCE))
        return super().complete(requests)


class Told(Prompted):
    """Says when a chunk is ready, and in which thread that was."""

    def __init__(self, backend, root):
        super().__init__(backend, ReaderSettings(reader="echo", cues={}), root)
        self.threads = []

    def prepare(self, posts):
        finish = super().prepare(posts)
        self.threads.append(threading.current_thread().name)
        self._backend.ready[int(posts[0].id.removeprefix("p")) // 4].set()
        return finish


def chunks(n, **more):
    return [(i, [Example(post=post(i * 4 + k, **more)) for k in range(4)]) for i in range(n)]


def test_the_next_chunk_is_ready_before_the_model_has_ended_this_one(tmp_path):
    engine = Waiting([threading.Event() for _ in range(4)])
    reader = Told(engine, tmp_path)
    found = list(read_alone(Plain(reader), chunks(4)))
    assert engine.waited == [True] * 3
    assert [i for i, _ in found] == [0, 1, 2, 3]
    assert threading.main_thread().name not in reader.threads
    alone = Prompted(Echo("", BackendOptions()), ReaderSettings(reader="echo", cues={}), tmp_path)
    for (_, readings), (_, examples) in zip(found, chunks(4), strict=True):
        assert readings == alone.read([e.post for e in examples])


def test_no_more_than_two_chunks_are_made_ready_ahead(tmp_path):
    engine = Waiting([threading.Event() for _ in range(9)])
    reader = Told(engine, tmp_path)
    going = read_alone(Plain(reader), chunks(9))
    next(going)
    time.sleep(0.2)
    assert len(reader.threads) <= 3
    going.close()


def test_who_stops_does_not_wait_for_what_is_made_ready(tmp_path):
    reader = Told(Waiting([threading.Event() for _ in range(9)]), tmp_path)
    plain, begun = reader.prepare, threading.Event()

    def prepare(posts):
        if posts[0].id != "p0":
            begun.set()
            time.sleep(30)
        return plain(posts)

    reader.prepare = prepare
    going = read_alone(Plain(reader), chunks(3))
    reader._backend.ready[1].set()
    next(going)
    assert begun.wait(PATIENCE)
    started = time.monotonic()
    going.close()
    assert time.monotonic() - started < 10


@pytest.fixture
def decoded(monkeypatch):
    """How often each picture is decoded, with an empty cache."""
    media._gate.cache.clear()
    seen = []
    plain = pictures.decode
    monkeypatch.setattr(
        pictures, "decode", lambda data, *more: (seen.append(data), plain(data, *more))[1]
    )
    yield seen
    media._gate.cache.clear()


@pytest.mark.parametrize("settings", [JobSettings, AnnotateSettings])
def test_each_picture_of_a_job_is_decoded_once_though_many_posts_show_it(
    settings, tmp_path, decoded
):
    for i in range(6):
        write_picture(tmp_path / f"{i}.png", colour=(40 * i, 90, 90))
    posts = [post(i, pictures=[f"{i // 4}.png"]) for i in range(24)]
    path = write_posts(tmp_path / "posts.jsonl", posts)
    counts = annotate(
        open_source(str(path)),
        tmp_path / "out.jsonl",
        settings(reader="echo", prompt="reader/full", cues={}, chunk=5),
    ).counts
    assert counts.rows == 24
    assert len(decoded) == len(set(decoded)) == 6


def test_room_is_made_for_four_chunks_and_never_taken_away(monkeypatch, tmp_path):
    monkeypatch.setattr(media._gate.cache, "room", 64 << 20)
    budget = media.PictureLimits(max_pixels=1_000_000)
    make_teacher(JobSettings(reader="echo", chunk=32, picture=budget), tmp_path)
    assert media._gate.cache.room == 4 * 32 * 4_000_000
    make_teacher(JobSettings(reader="echo", chunk=1), tmp_path)
    assert media._gate.cache.room == 4 * 32 * 4_000_000
    media.make_room(10_000, budget)
    assert media._gate.cache.room == 1 << 30


def test_what_fails_while_it_is_made_ready_fails_in_its_turn(tmp_path):
    posts = [post(i, pictures=["none.png"] if i == 6 else []) for i in range(8)]
    path = write_posts(tmp_path / "posts.jsonl", posts)
    seen = []
    settings = JobSettings(reader="echo", cues={}, chunk=2, bad_picture="fail")
    with pytest.raises(UserError, match=r"none\.png"):
        annotate(
            open_source(str(path)),
            tmp_path / "out.jsonl",
            settings,
            ledger_path=tmp_path / "l",
            on_progress=lambda c: seen.append(c.rows),
        )
    assert seen == [2, 4, 6]


def test_readers_without_a_model_to_ask_are_not_asked_to_prepare():
    assert not isinstance(readers["majority"], Preparing)
    assert isinstance(
        Prompted(Echo("", BackendOptions()), ReaderSettings(reader="echo"), None), Preparing
    )
