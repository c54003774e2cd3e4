"""Teachers as they are: files with holes and contradictions, no numbers, dead servers."""

import json
import random

import pytest

from gen_msa.annotating import AnnotateSettings, annotate
from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.settings import load
from gen_msa.types import Example, Opinion, Polarity, Status
from tests.fixtures.fake_openai import FakeOpenAI, reply, words_of
from tests.fixtures.posts import post, write_posts


def job(path, *given, ledger=None):
    settings = load(AnnotateSettings, None, ["cues={}", "gates={length: {}}", *given])
    out = path.with_name("out.jsonl")
    outcome = annotate(open_source(str(path)), out, settings, ledger_path=ledger)
    rows = [Example.model_validate_json(x) for x in out.read_text("utf-8").splitlines()]
    aside = outcome.rejected_file.read_text("utf-8").splitlines() if outcome.rejected_file else []
    return outcome, rows, [json.loads(x) for x in aside]


def said(i, label=Polarity.POSITIVE, n=2):
    why = f"A reason of some words for post {i}"
    found = [Opinion(by="t", aspect=a, polarity=label, explanation=why) for a in post(i).aspects]
    return Example(post=post(i), opinions=tuple(found[:n]))


@pytest.fixture
def posts(tmp_path):
    return write_posts(tmp_path / "posts.jsonl", map(post, range(6)))


def teacher(tmp_path, *lines):
    path = tmp_path / "teacher.jsonl"
    path.write_text("".join(x if isinstance(x, str) else x.model_dump_json() + "\n" for x in lines))
    return f"reader=file:{path}"


def test_missing_rows_and_aspects_are_excluded_by_name(posts, tmp_path):
    file = teacher(tmp_path, said(0), said(1, n=1), *map(said, range(3, 6)))
    outcome, rows, aside = job(posts, file)
    assert [len(r.opinions) for r in rows] == [2, 1, 0, 2, 2, 2]
    assert [(a["post"], a["excluded"]) for a in aside] == [("p1", True), ("p2", True), ("p2", True)]
    assert "no opinion on this aspect" in aside[0]["reason"]
    assert "no row for this post" in aside[1]["reason"]
    assert outcome.summary.gates["answer"].refused == 3


def test_a_row_that_stands_twice_stops_the_job_before_anything_is_written(posts, tmp_path):
    file = teacher(tmp_path, *map(said, range(6)), said(2, Polarity.NEGATIVE))
    with pytest.raises(UserError, match="post 'p2' stands there a second time"):
        job(posts, file)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_row_that_contradicts_itself_is_set_aside(posts, tmp_path):
    other = said(3, Polarity.NEGATIVE).opinions[:1]
    file = teacher(tmp_path, *map(said, (0, 1, 2, 4, 5)), said(3).adding(*other))
    outcome, rows, aside = job(posts, file)
    assert [r.post.id for r in rows] == ["p0", "p1", "p2", "p4", "p5"]
    assert "two opinions of t on one aspect" in aside[0]["reason"]
    assert (outcome.counts.rejected, outcome.counts.failed) == (1, 0)
    assert outcome.counts.rows == 6


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "2.0", '"x"', "null"])
def test_probabilities_that_are_no_numbers_are_never_learned_from(posts, tmp_path, bad):
    tree = json.loads(said(2).model_dump_json())
    tree["opinions"][0]["probs"] = {"negative": 0.5, "neutral": 0.25, "positive": "HERE"}
    line = json.dumps(tree).replace('"HERE"', bad) + "\n"
    _, rows, aside = job(posts, teacher(tmp_path, *map(said, (0, 1)), line, *map(said, (3, 4, 5))))
    assert [len(r.opinions) for r in rows] == [2, 2, 0, 2, 2, 2]
    assert "line 3" in aside[0]["reason"]


def test_a_teacher_that_does_not_answer_a_fifth_of_the_calls_is_asked_for_those_again(tmp_path):
    posts = write_posts(tmp_path / "posts.jsonl", map(post, range(40)))
    late: set[str] = set()

    def plan(words, attempt):
        dead = attempt == 0 and random.Random(words).random() < 0.2
        late.update({words} if dead else ())
        return "hang" if dead else ""

    def answer(body):
        why = {"sentiment": "positive", "explanation": "Because the words of the post say so"}
        return reply(json.dumps(why), model=body["model"])

    with FakeOpenAI(plan, answer=answer) as server:
        given = [
            f"reader=http:{server.url}#m", "backend.timeout=2.0", "backend.retries=0",
            "prompt=teacher/rationale", "retries=0", "chunk=20",
        ]  # fmt: skip
        first, rows, aside = job(posts, *given, ledger=tmp_path / "a.ledger")
        assert 0 < len(late) < 40
        assert first.summary.unanswered == len(aside) == len(late)
        assert all("error" in a["reason"] for a in aside)
        assert sum(len(r.opinions) for r in rows) == 80 - len(late)
        assert Status.ERROR not in {o.status for r in rows for o in r.opinions}
        second, rows, aside = job(posts, *given, ledger=tmp_path / "a.ledger")
        calls = [words_of(body) for body in server.seen]
    assert aside == []
    assert [len(r.opinions) for r in rows] == [2] * 40
    assert second.summary.unanswered == 0
    assert second.counts.repeated == 40 - first.counts.unanswered
    # Asked again is what was not answered, and the other question about the same post.
    assert len(calls) == 80 + 2 * first.counts.unanswered
