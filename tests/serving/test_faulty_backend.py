"""Fault 19: a model whose server fails a fifth of 1,000 calls loses no post and invents no answer.

On the service and in a job: what failed is an error that can be asked again, never an opinion.
"""

import json
import random
import re

import pytest

from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import open_examples
from gen_msa.predictors import make
from gen_msa.settings import load
from gen_msa.types import Aspect, Example, Polarity, Post, Status
from tests.fixtures.fake_openai import FAULTS, FakeOpenAI, reply
from tests.serving.doubles import run_service

N_POSTS = 1000
CHUNK_SIZE = 250
SLOW = ("hang", "drip", "huge")
"""Faults that cost a test its time: only among the first posts."""
N_RETRIES = 3
"""Times that what failed is asked again."""
ASPECT = (Aspect(term="tea", start=4),)


def post_index(text):
    match = re.search(r"The tea #(\d+)#", text)
    return int(match[1]) if match else N_POSTS  # what a service tries before its first client


def expected_polarity(i):
    """What the server says of post `i` when it is well; the faults all say `positive`."""
    return ("negative", "neutral")[i % 2]


def fails(i):
    return random.Random(i).random() < 0.2


PLANNED = {i for i in range(N_POSTS) if fails(i)}


def choose_fault(text, attempt):
    i = post_index(text)
    if attempt or i not in PLANNED:
        return ""
    fault = FAULTS[i % len(FAULTS)]
    return fault if fault not in SLOW or i < CHUNK_SIZE else "500"


def build_reply(body):
    i = post_index(body["messages"][-1]["content"])
    content = {"sentiment": expected_polarity(i), "explanation": f"tea number {i}"}
    return reply(json.dumps(content), model=body["model"])


@pytest.fixture
def server():
    with FakeOpenAI(choose_fault, answer=build_reply) as fake_server:
        yield fake_server
    assert set(fake_server.faults) == set(FAULTS)
    assert sum(fake_server.faults.values()) == len(PLANNED) > N_POSTS // 6
    n_requests = sum(n for text, n in fake_server.attempts.items() if post_index(text) < N_POSTS)
    # On a busy machine a good answer may be late as well.
    assert n_requests >= N_POSTS + len(PLANNED)


@pytest.fixture
def settings(server):
    overrides = [f"model=http:{server.url}#m", "cues={}", "reask_prompt=''", f"chunk={CHUNK_SIZE}"]
    options = {"retries": 0, "timeout": 3.0, "batch_size": 32, "api_key_variable": ""}
    return load(JobSettings, None, [*overrides, f"backend={json.dumps(options)}"])


def post(i):
    return Post(id=str(i), text=f"The tea #{i}#", aspects=ASPECT)


def failed_posts(examples):
    """The posts that were not answered; all others are answered rightly."""
    failed = []
    for example in examples:
        (opinion,) = example.opinions
        i = int(example.post.id)
        if opinion.status is Status.ERROR:
            assert (opinion.polarity, opinion.explanation, opinion.probs) == (None, None, None)
            assert opinion.provenance["error"]
            failed.append(i)
        else:
            assert opinion.polarity is Polarity(expected_polarity(i))
            assert opinion.explanation == f"tea number {i}"
    return failed


def test_service_reports_failures_and_answers_on_retry(settings):
    def ask(service, indices):
        for offset in range(0, len(indices), CHUNK_SIZE):
            posts = [
                json.loads(post(i).model_dump_json()) for i in indices[offset : offset + CHUNK_SIZE]
            ]
            rows = [{k: p[k] for k in ("id", "text", "aspects")} for p in posts]
            answers = service.explain(rows).json()["answers"]
            assert [a["example"]["post"]["id"] for a in answers] == [r["id"] for r in rows]
            yield from (Example.model_validate(a["example"]) for a in answers)

    def make_predictor(root):
        return make(settings.predictor_settings(), root)

    with run_service(
        f"limits.posts={CHUNK_SIZE}", f"batching.rows={CHUNK_SIZE}", make_predictor=make_predictor
    ) as service:
        failed = failed_posts(ask(service, range(N_POSTS)))
        assert set(failed) >= PLANNED
        for _ in range(N_RETRIES):
            failed = failed_posts(ask(service, failed))
        assert failed == []
        assert service.log_events("fault") == []


def test_job_retries_only_failed_posts(settings, tmp_path):
    path = tmp_path / "posts.jsonl"
    lines = [Example(post=post(i)).model_dump_json() + "\n" for i in range(N_POSTS)]
    path.write_text("".join(lines), "utf-8")

    def run():
        out = tmp_path / "out.jsonl"
        cache_path = tmp_path / "a.ledger"
        counts = annotate(open_examples(str(path)), out, settings, cache_path=cache_path).counts
        return counts, failed_posts(
            map(Example.model_validate_json, out.read_text("utf-8").splitlines())
        )

    first_counts, failed = run()
    assert set(failed) >= PLANNED
    assert (first_counts.written, first_counts.unanswered) == (N_POSTS, len(failed))
    for _ in range(N_RETRIES):
        answered = N_POSTS - len(failed)
        retry_counts, failed = run()
        assert (retry_counts.written, retry_counts.from_cache) == (N_POSTS, answered)
    assert failed == []
