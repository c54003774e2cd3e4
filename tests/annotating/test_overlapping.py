"""A server is asked about two chunks together; answers and questions are those of one by one."""

import json
import random
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from gen_msa.annotating import AnnotateSettings, JobSettings, _job, _pool, annotate
from gen_msa.annotating._desk import Desk
from gen_msa.annotating._working import key_of
from gen_msa.data import open_source
from gen_msa.errors import Unanswered, UserError
from gen_msa.feeding import at_once
from gen_msa.ledger import key
from gen_msa.settings import load
from gen_msa.types import Example, Status
from tests.annotating.test_kill import answered
from tests.fixtures.fake_openai import FakeOpenAI, reply, words_of
from tests.fixtures.posts import post, write_posts

PATIENCE = 10


def said(body):
    """An answer that is decided by the question, its seed and its temperature alone."""
    told = f"{words_of(body)} {body.get('seed')} {body.get('temperature')}"
    chance = random.Random(zlib.crc32(told.encode()))
    label = chance.choice(("positive", "negative", "neutral", "who knows"))
    word = chance.choice(("screen", "battery", "thing"))
    return reply(f"Sentiment: {label}\nExplanation: the {word} is great", model=body["model"])


@pytest.fixture
def source(tmp_path):
    return open_source(str(write_posts(tmp_path / "posts.jsonl", map(post, range(40)))))


def settings(server, kind=JobSettings, **more):
    given = [f"reader=http:{server.url}#m", "cues={}", "chunk=4", "max_bad=1.0"]
    given += ["backend={api_key_variable: '', retries: 0, batch_size: 3}"]
    return load(kind, None, [*given, *(f"{k}={json.dumps(v)}" for k, v in more.items())])


GATES = {"naming": {}, "length": {}, "agreement": {"k": 2, "least": 0.5}, "novelty": {"most": 0.9}}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (JobSettings, {}),
        (JobSettings, {"aspects": "reader"}),
        (AnnotateSettings, {"prompt": "teacher/rationale", "gates": GATES}),
    ],
)
def test_two_chunks_together_give_the_bytes_and_questions_of_one_after_the_other(
    source, tmp_path, monkeypatch, kind, more
):
    made, asked = {}, {}
    for together in (1, 2, 3):
        monkeypatch.setattr(_pool, "TOGETHER", together)
        with FakeOpenAI(answer=said, slow=0.002) as server:
            out = tmp_path / f"{together}.jsonl"
            job = settings(server, kind, **more)
            url = server.url
            counts = annotate(source, out, job, ledger_path=out.with_suffix(".ledger")).counts
        assert counts.rows == 40
        files = sorted(tmp_path.glob(f"{together}*.jsonl"))
        made[together] = [p.read_text().replace(url, "URL") for p in files]
        asked[together] = sorted(json.dumps(body) for body in server.seen)
        assert server.most_running == 3
    assert made[1] == made[2] == made[3]
    assert any(made[1])
    assert asked[1] == asked[2] == asked[3]


def test_a_chunk_s_last_question_does_not_leave_the_server_idle(source, tmp_path):
    """The last question of the first chunk is answered only once the second chunk is asked."""
    next_chunk, waited = threading.Event(), []

    def answer(body):
        words = words_of(body)
        if "#4\n" in words:
            next_chunk.set()
        if "#3\n" in words:
            waited.append(next_chunk.wait(PATIENCE))
        return said(body)

    with FakeOpenAI(answer=answer) as server:
        counts = annotate(source, tmp_path / "out.jsonl", settings(server)).counts
    assert counts.written == 40
    assert waited
    assert all(waited)


def test_a_job_that_stops_lets_its_other_questions_go(tmp_path, source):
    """The first chunk is refused and ends the job; the second, which hangs, is given up."""

    begun = threading.Event()

    def plan(words, attempt):
        if any(f"#{i}\n" in words for i in range(3)):
            return "401"
        if "#3\n" in words:
            return "401" if begun.wait(PATIENCE) else "500"
        begun.set()
        return "hang"

    with FakeOpenAI(plan=plan) as server:
        with pytest.raises(UserError, match="none of the first 4 posts"):
            annotate(source, tmp_path / "out.jsonl", settings(server))
        until = time.monotonic() + PATIENCE / 3
        while any(t.name.startswith("asyncio-portal") for t in threading.enumerate()):
            assert time.monotonic() < until, "the second chunk is still being asked"
            time.sleep(0.01)
    assert 1 <= server.faults["hang"] <= 3


def test_two_hands_of_one_desk_ask_together(tmp_path, source):
    both = threading.Barrier(2)

    def answer(body):
        both.wait(PATIENCE)
        return said(body)

    with FakeOpenAI(answer=answer) as server:
        job = settings(server, overall_prompt="reader/overall", aspects="overall", reask_prompt="")
        desk = Desk(job, tmp_path, tmp_path)
        reader = key(desk.open())
        examples = [Example(post=post(i)) for i in range(2)]
        keys = [key_of(reader, e, tmp_path, job) for e in examples]
        with ThreadPoolExecutor(2) as hands:
            read = list(hands.map(lambda i: desk.read([examples[i]], [keys[i]]), range(2)))
    assert [r.opinions[0].status is not Status.ERROR for (r,) in read] == [True, True]


def test_what_is_answered_is_kept_though_an_earlier_chunk_still_waits(tmp_path, source):
    """The first chunk's last question is answered once the second chunk is in the ledger."""
    book, waited = tmp_path / "out.ledger", []

    def answer(body):
        if "#3\n" in words_of(body):
            until = time.monotonic() + PATIENCE
            while not answered(book) and time.monotonic() < until:
                time.sleep(0.01)
            waited.append(answered(book))
        return said(body)

    with FakeOpenAI(answer=answer) as server:
        annotate(source, tmp_path / "out.jsonl", settings(server), ledger_path=book)
    assert waited[0] == 4
    assert answered(book) == 40


@pytest.mark.parametrize("known", [0, 8])
def test_a_server_that_is_lost_on_the_way_stops_the_job(tmp_path, monkeypatch, source, known):
    monkeypatch.setattr(_job, "LOST", 16)
    with FakeOpenAI(plan=lambda words, attempt: "" if attempt == 0 else "401") as server:
        job, book = settings(server, limit=known or None, reask_prompt=""), tmp_path / "o.ledger"
        if known:
            annotate(source, tmp_path / "o.jsonl", job, ledger_path=book)
        server.plan = lambda words, attempt: "401" if known or len(server.seen) > 20 else ""
        job = settings(server, reask_prompt="")
        with pytest.raises(Unanswered, match=r"none of the last 16 posts could be asked: .*401"):
            annotate(source, tmp_path / "o.jsonl", job, ledger_path=book)
        asked = len(server.seen)
    assert asked < 80 - 4
    assert not (tmp_path / "o.jsonl").exists() or known
    assert 4 <= answered(book) < 40


def test_results_come_in_order_errors_in_their_turn_and_one_at_a_time_needs_no_thread():
    def fail():
        raise ValueError("third")

    def unmade():
        yield lambda: 1
        yield lambda: 2
        raise ValueError("third")

    for most in (1, 2, 3):
        going = at_once(unmade(), most)
        assert [next(going), next(going)] == [1, 2]
        with pytest.raises(ValueError, match="third"):
            next(going)
    works = [lambda: 1, lambda: 2, fail, lambda: 4]
    for most in (1, 2, 3):
        going = at_once(iter(works), most)
        assert [next(going), next(going)] == [1, 2]
        with pytest.raises(ValueError, match="third"):
            next(going)
    here = threading.current_thread()
    assert list(at_once(iter([threading.current_thread]), 1)) == [here]
    assert list(at_once(iter([threading.current_thread]), 2)) != [here]
