"""Fault 19: a reader whose server fails a fifth of 1,000 calls loses no post and invents no answer.

On the service and in a job: what failed is an error that can be asked again, never an opinion.
"""

import json
import random
import re

import pytest

from gen_msa.annotating import JobSettings, annotate
from gen_msa.data import open_source
from gen_msa.readers import make
from gen_msa.settings import load
from gen_msa.types import Aspect, Example, Polarity, Post, Status
from tests.fixtures.fake_openai import FAULTS, FakeOpenAI, reply
from tests.serving.doubles import served

POSTS = 1000
MANY = 250
SLOW = ("hang", "drip", "huge")
"""Faults that cost a test its time: only among the first posts."""
AGAIN = 3
"""Times that what failed is asked again."""
ASPECT = (Aspect(term="tea", start=4),)


def number(words):
    found = re.search(r"The tea #(\d+)#", words)
    return int(found[1]) if found else POSTS  # what a service tries before its first client


def said(i):
    """What the server says of post `i` when it is well; the faults all say `positive`."""
    return ("negative", "neutral")[i % 2]


def fails(i):
    return random.Random(i).random() < 0.2


PLANNED = {i for i in range(POSTS) if fails(i)}


def plan(words, attempt):
    i = number(words)
    if attempt or i not in PLANNED:
        return ""
    fault = FAULTS[i % len(FAULTS)]
    return fault if fault not in SLOW or i < MANY else "500"


def answer(body):
    i = number(body["messages"][-1]["content"])
    told = {"sentiment": said(i), "explanation": f"tea number {i}"}
    return reply(json.dumps(told), model=body["model"])


@pytest.fixture
def server():
    with FakeOpenAI(plan, answer=answer) as it:
        yield it
    assert set(it.faults) == set(FAULTS)
    assert sum(it.faults.values()) == len(PLANNED) > POSTS // 6
    asked = sum(n for words, n in it.attempts.items() if number(words) < POSTS)
    # On a busy machine a good answer may be late as well.
    assert asked >= POSTS + len(PLANNED)


@pytest.fixture
def settings(server):
    given = [f"reader=http:{server.url}#m", "cues={}", "reask_prompt=''", f"chunk={MANY}"]
    options = {"retries": 0, "timeout": 3.0, "batch_size": 32, "api_key_variable": ""}
    return load(JobSettings, None, [*given, f"backend={json.dumps(options)}"])


def post(i):
    return Post(id=str(i), text=f"The tea #{i}#", aspects=ASPECT)


def judged(examples):
    """The posts that were not answered; all others are answered rightly."""
    failed = []
    for example in examples:
        (opinion,) = example.opinions
        i = int(example.post.id)
        if opinion.status is Status.ERROR:
            assert (opinion.polarity, opinion.explanation, opinion.probs) == (None, None, None)
            assert opinion.how["error"]
            failed.append(i)
        else:
            assert opinion.polarity is Polarity(said(i))
            assert opinion.explanation == f"tea number {i}"
    return failed


def test_a_service_says_so_and_answers_when_asked_again(settings):
    def ask(service, wanted):
        for at in range(0, len(wanted), MANY):
            posts = [json.loads(post(i).model_dump_json()) for i in wanted[at : at + MANY]]
            rows = [{k: p[k] for k in ("id", "text", "aspects")} for p in posts]
            answers = service.explain(rows).json()["answers"]
            assert [a["example"]["post"]["id"] for a in answers] == [r["id"] for r in rows]
            yield from (Example.model_validate(a["example"]) for a in answers)

    def reader(root):
        return make(settings.of_reader(), root)

    with served(f"limits.posts={MANY}", f"batching.rows={MANY}", reader=reader) as service:
        failed = judged(ask(service, range(POSTS)))
        assert set(failed) >= PLANNED
        for _ in range(AGAIN):
            failed = judged(ask(service, failed))
        assert failed == []
        assert service.logged("fault") == []


def test_a_job_asks_only_those_again_and_ends_as_if_nothing_had_happened(settings, tmp_path):
    path = tmp_path / "posts.jsonl"
    lines = [Example(post=post(i)).model_dump_json() + "\n" for i in range(POSTS)]
    path.write_text("".join(lines), "utf-8")

    def run():
        out = tmp_path / "out.jsonl"
        ledger = tmp_path / "a.ledger"
        counts = annotate(open_source(str(path)), out, settings, ledger_path=ledger).counts
        return counts, judged(map(Example.model_validate_json, out.read_text("utf-8").splitlines()))

    first, failed = run()
    assert set(failed) >= PLANNED
    assert (first.written, first.unanswered) == (POSTS, len(failed))
    for _ in range(AGAIN):
        answered = POSTS - len(failed)
        again, failed = run()
        assert (again.written, again.repeated) == (POSTS, answered)
    assert failed == []
