"""Two chunks are sent to a server at once; answers and requests equal those of one by one."""

import json
import random
import threading
import time
import zlib

import pytest

from gen_msa.annotation import AnnotateSettings, JobSettings, annotate, job, workers
from gen_msa.data import open_examples
from gen_msa.errors import BackendUnavailable, UserError
from gen_msa.prefetch import ordered_concurrent_map
from gen_msa.settings import load
from tests.annotation.test_kill import count_cached
from tests.fixtures.fake_openai import FakeOpenAI, last_message_text, reply
from tests.fixtures.posts import post, write_posts

TIMEOUT_S = 10


def deterministic_answer(body):
    """Return an answer that depends only on the request, its seed and its temperature."""
    request_key = f"{last_message_text(body)} {body.get('seed')} {body.get('temperature')}"
    rng = random.Random(zlib.crc32(request_key.encode()))
    label = rng.choice(("positive", "negative", "neutral", "who knows"))
    noun = rng.choice(("screen", "battery", "thing"))
    return reply(f"Sentiment: {label}\nExplanation: the {noun} is great", model=body["model"])


@pytest.fixture
def source(tmp_path):
    return open_examples(str(write_posts(tmp_path / "posts.jsonl", map(post, range(40)))))


def settings(server, settings_type=JobSettings, **more):
    overrides = [f"model=http:{server.url}#m", "cues={}", "chunk=4", "max_error_rate=1.0"]
    overrides += ["backend={api_key_variable: '', retries: 0, batch_size: 3}"]
    return load(
        settings_type, None, [*overrides, *(f"{k}={json.dumps(v)}" for k, v in more.items())]
    )


FILTERS = {
    "mentions_aspect": {},
    "length": {},
    "self_consistency": {"n_samples": 2, "min_agreement": 0.5},
    "near_duplicate": {"max_similarity": 0.9},
}


@pytest.mark.parametrize(
    ("settings_type", "more"),
    [
        (JobSettings, {}),
        (JobSettings, {"aspects": "model"}),
        (AnnotateSettings, {"prompt": "teacher/rationale", "filters": FILTERS}),
    ],
)
def test_concurrent_chunks_match_sequential_output_and_requests(
    source, tmp_path, monkeypatch, settings_type, more
):
    outputs, requests = {}, {}
    for n_concurrent in (1, 2, 3):
        monkeypatch.setattr(workers, "CONCURRENT_CHUNKS", n_concurrent)
        with FakeOpenAI(answer=deterministic_answer, delay_s=0.005) as server:
            out = tmp_path / f"{n_concurrent}.jsonl"
            job = settings(server, settings_type, **more)
            url = server.url
            counts = annotate(source, out, job, cache_path=out.with_suffix(".cache")).counts
        assert counts.rows == 40
        files = sorted(tmp_path.glob(f"{n_concurrent}*.jsonl"))
        outputs[n_concurrent] = [p.read_text().replace(url, "URL") for p in files]
        requests[n_concurrent] = sorted(json.dumps(body) for body in server.request_bodies)
        # A reply may reach the client before the server has counted it as done.
        assert 2 <= server.max_running <= 6
    assert outputs[1] == outputs[2] == outputs[3]
    assert any(outputs[1])
    assert requests[1] == requests[2] == requests[3]


def test_next_chunk_is_sent_before_last_answer_of_previous_one(source, tmp_path):
    """The last request of chunk 1 is answered only after a request of chunk 2 has arrived."""
    next_chunk, wait_results = threading.Event(), []

    def answer(body):
        text = last_message_text(body)
        if "#4\n" in text:
            next_chunk.set()
        if "#3\n" in text:
            wait_results.append(next_chunk.wait(TIMEOUT_S))
        return deterministic_answer(body)

    with FakeOpenAI(answer=answer) as server:
        counts = annotate(source, tmp_path / "out.jsonl", settings(server)).counts
    assert counts.written == 40
    assert wait_results
    assert all(wait_results)


def test_stopping_job_cancels_pending_requests(tmp_path, source):
    """Chunk 1 fails and ends the job; the hanging requests of chunk 2 are cancelled."""

    second_chunk_started = threading.Event()

    def plan(text, attempt):
        if any(f"#{i}\n" in text for i in range(3)):
            return "401"
        if "#3\n" in text:
            return "401" if second_chunk_started.wait(TIMEOUT_S) else "500"
        second_chunk_started.set()
        return "hang"

    with FakeOpenAI(plan=plan) as server:
        with pytest.raises(UserError, match="none of the first 4 posts"):
            annotate(source, tmp_path / "out.jsonl", settings(server))
        deadline = time.monotonic() + TIMEOUT_S / 3
        while any(t.name.startswith("asyncio-portal") for t in threading.enumerate()):
            assert time.monotonic() < deadline, "requests of the second chunk still run"
            time.sleep(0.01)
    assert 1 <= server.faults["hang"] <= 3


def test_answers_are_cached_while_an_earlier_chunk_waits(tmp_path, source):
    """The last request of chunk 1 is answered only after chunk 2 is in the cache."""
    cache_path, cached_counts = tmp_path / "out.cache", []

    def answer(body):
        if "#3\n" in last_message_text(body):
            deadline = time.monotonic() + TIMEOUT_S
            while not count_cached(cache_path) and time.monotonic() < deadline:
                time.sleep(0.01)
            cached_counts.append(count_cached(cache_path))
        return deterministic_answer(body)

    with FakeOpenAI(answer=answer) as server:
        annotate(source, tmp_path / "out.jsonl", settings(server), cache_path=cache_path)
    assert cached_counts[0] == 4
    assert count_cached(cache_path) == 40


@pytest.mark.parametrize("n_cached", [0, 8])
def test_job_stops_when_server_becomes_unavailable(tmp_path, monkeypatch, source, n_cached):
    monkeypatch.setattr(job, "MAX_CONSECUTIVE_FAILURES", 16)
    with FakeOpenAI(plan=lambda text, attempt: "" if attempt == 0 else "401") as server:
        cache_path = tmp_path / "o.cache"
        if n_cached:
            first_job = settings(server, limit=n_cached, reask_prompt="")
            annotate(source, tmp_path / "o.jsonl", first_job, cache_path=cache_path)
        server.plan = lambda text, attempt: (
            "401" if n_cached or len(server.request_bodies) > 20 else ""
        )
        full_job = settings(server, reask_prompt="")
        with pytest.raises(
            BackendUnavailable, match=r"none of the last 16 posts got an answer: .*401"
        ):
            annotate(source, tmp_path / "o.jsonl", full_job, cache_path=cache_path)
        n_requests = len(server.request_bodies)
    assert n_requests < 80 - 4
    assert not (tmp_path / "o.jsonl").exists() or n_cached
    assert 4 <= count_cached(cache_path) < 40


def test_ordered_concurrent_map_keeps_order_of_results_and_errors():
    def fail():
        raise ValueError("third")

    def failing_calls():
        yield lambda: 1
        yield lambda: 2
        raise ValueError("third")

    for max_concurrent in (1, 2, 3):
        results = ordered_concurrent_map(failing_calls(), max_concurrent)
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(ValueError, match="third"):
            next(results)
    calls = [lambda: 1, lambda: 2, fail, lambda: 4]
    for max_concurrent in (1, 2, 3):
        results = ordered_concurrent_map(iter(calls), max_concurrent)
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(ValueError, match="third"):
            next(results)
    current_thread = threading.current_thread()
    assert list(ordered_concurrent_map(iter([threading.current_thread]), 1)) == [current_thread]
    assert list(ordered_concurrent_map(iter([threading.current_thread]), 2)) != [current_thread]
