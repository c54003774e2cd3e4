"""The next chunk is prepared while the model runs; no image is decoded twice."""

import threading
import time

import pytest

from gen_msa import media
from gen_msa.annotation import AnnotateSettings, JobSettings, annotate
from gen_msa.annotation.workers import PredictorTeacher, make_teacher, predict_in_process
from gen_msa.backends import BackendOptions
from gen_msa.backends.echo import EchoBackend
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.media import admission, images
from gen_msa.predictors import PredictorSettings, Prefetchable, predictors
from gen_msa.predictors.prompted import PromptedPredictor
from gen_msa.types import Example
from tests.fixtures.posts import post, write_image, write_posts

TIMEOUT_S = 10


class WaitingEchoBackend(EchoBackend):
    """Answers a chunk only after the next one has been prepared."""

    def __init__(self, ready):
        super().__init__("", BackendOptions())
        self.ready, self.chunk, self.wait_results = ready, 0, []

    def complete(self, requests):
        self.chunk += 1
        if self.chunk < len(self.ready):
            self.wait_results.append(self.ready[self.chunk].wait(TIMEOUT_S))
        return super().complete(requests)


class RecordingPredictor(PromptedPredictor):
    """Records when a chunk is prepared, and in which thread."""

    def __init__(self, backend, root):
        super().__init__(backend, PredictorSettings(model="echo", cues={}), root)
        self.thread_names = []

    def prepare(self, posts):
        finish = super().prepare(posts)
        self.thread_names.append(threading.current_thread().name)
        self._backend.ready[int(posts[0].id.removeprefix("p")) // 4].set()
        return finish


def numbered_chunks(n, **more):
    return [(i, [Example(post=post(i * 4 + k, **more)) for k in range(4)]) for i in range(n)]


def test_next_chunk_is_prepared_before_current_one_finishes(tmp_path):
    backend = WaitingEchoBackend([threading.Event() for _ in range(4)])
    predictor = RecordingPredictor(backend, tmp_path)
    results = list(predict_in_process(PredictorTeacher(predictor), numbered_chunks(4)))
    assert backend.wait_results == [True] * 3
    assert [i for i, _ in results] == [0, 1, 2, 3]
    assert threading.main_thread().name not in predictor.thread_names
    plain_predictor = PromptedPredictor(
        EchoBackend("", BackendOptions()), PredictorSettings(model="echo", cues={}), tmp_path
    )
    for (_, predictions), (_, examples) in zip(results, numbered_chunks(4), strict=True):
        assert predictions == plain_predictor.predict([e.post for e in examples])


def test_at_most_two_chunks_are_prepared_ahead(tmp_path):
    backend = WaitingEchoBackend([threading.Event() for _ in range(9)])
    predictor = RecordingPredictor(backend, tmp_path)
    results = predict_in_process(PredictorTeacher(predictor), numbered_chunks(9))
    next(results)
    time.sleep(0.2)
    assert len(predictor.thread_names) <= 3
    results.close()


def test_closing_stream_does_not_wait_for_preparation(tmp_path):
    predictor = RecordingPredictor(
        WaitingEchoBackend([threading.Event() for _ in range(9)]), tmp_path
    )
    original_prepare, preparation_started = predictor.prepare, threading.Event()

    def prepare(posts):
        if posts[0].id != "p0":
            preparation_started.set()
            time.sleep(30)
        return original_prepare(posts)

    predictor.prepare = prepare
    results = predict_in_process(PredictorTeacher(predictor), numbered_chunks(3))
    predictor._backend.ready[1].set()
    next(results)
    assert preparation_started.wait(TIMEOUT_S)
    start_time = time.monotonic()
    results.close()
    assert time.monotonic() - start_time < 10


@pytest.fixture
def decode_calls(monkeypatch):
    """Yield the list of decode calls, starting with an empty cache."""
    admission.cache.clear()
    calls = []
    original_decode = images.decode_image
    monkeypatch.setattr(
        images,
        "decode_image",
        lambda data, *arguments: (calls.append(data), original_decode(data, *arguments))[1],
    )
    yield calls
    admission.cache.clear()


@pytest.mark.parametrize("settings", [JobSettings, AnnotateSettings])
def test_each_image_of_a_job_is_decoded_once(settings, tmp_path, decode_calls):
    for i in range(6):
        write_image(tmp_path / f"{i}.png", colour=(40 * i, 90, 90))
    posts = [post(i, images=[f"{i // 4}.png"]) for i in range(24)]
    path = write_posts(tmp_path / "posts.jsonl", posts)
    counts = annotate(
        open_examples(str(path)),
        tmp_path / "out.jsonl",
        settings(model="echo", prompt="predict/full", cues={}, chunk=5),
    ).counts
    assert counts.rows == 24
    assert len(decode_calls) == len(set(decode_calls)) == 6


def test_image_cache_grows_for_four_chunks_and_never_shrinks(monkeypatch, tmp_path):
    monkeypatch.setattr(admission.cache, "max_bytes", 64 << 20)
    limits = media.ImageLimits(max_pixels=1_000_000)
    make_teacher(JobSettings(model="echo", chunk=32, image=limits), tmp_path)
    assert admission.cache.max_bytes == 4 * 32 * 4_000_000
    make_teacher(JobSettings(model="echo", chunk=1), tmp_path)
    assert admission.cache.max_bytes == 4 * 32 * 4_000_000
    media.resize_cache(10_000, limits)
    assert admission.cache.max_bytes == 1 << 30


def test_preparation_error_is_raised_in_chunk_order(tmp_path):
    posts = [post(i, images=["none.png"] if i == 6 else []) for i in range(8)]
    path = write_posts(tmp_path / "posts.jsonl", posts)
    row_counts = []
    settings = JobSettings(model="echo", cues={}, chunk=2, bad_image="fail")
    with pytest.raises(UserError, match=r"none\.png"):
        annotate(
            open_examples(str(path)),
            tmp_path / "out.jsonl",
            settings,
            cache_path=tmp_path / "l",
            on_progress=lambda c: row_counts.append(c.rows),
        )
    assert row_counts == [2, 4, 6]


def test_only_predictors_with_a_backend_are_prefetchable():
    assert not isinstance(predictors["majority"], Prefetchable)
    assert isinstance(
        PromptedPredictor(EchoBackend("", BackendOptions()), PredictorSettings(model="echo"), None),
        Prefetchable,
    )
