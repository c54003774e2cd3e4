"""Faulty teachers: files with gaps and contradictions, invalid numbers, dead servers."""

import json
import random

import pytest

from gen_msa.annotation import AnnotateSettings, annotate
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.settings import load
from gen_msa.types import Example, Opinion, Polarity, Status
from tests.fixtures.fake_openai import FakeOpenAI, last_message_text, reply
from tests.fixtures.posts import post, write_posts


def job(path, *overrides, cache_path=None):
    settings = load(AnnotateSettings, None, ["cues={}", "filters={length: {}}", *overrides])
    out = path.with_name("out.jsonl")
    result = annotate(open_examples(str(path)), out, settings, cache_path=cache_path)
    rows = [Example.model_validate_json(x) for x in out.read_text("utf-8").splitlines()]
    rejected = result.rejected_file.read_text("utf-8").splitlines() if result.rejected_file else []
    return result, rows, [json.loads(x) for x in rejected]


def teacher_example(i, label=Polarity.POSITIVE, n=2):
    explanation = f"A reason of some words for post {i}"
    opinions = [
        Opinion(annotator="t", aspect=a, polarity=label, explanation=explanation)
        for a in post(i).aspects
    ]
    return Example(post=post(i), opinions=tuple(opinions[:n]))


@pytest.fixture
def posts(tmp_path):
    return write_posts(tmp_path / "posts.jsonl", map(post, range(6)))


def teacher_override(tmp_path, *lines):
    path = tmp_path / "teacher.jsonl"
    path.write_text("".join(x if isinstance(x, str) else x.model_dump_json() + "\n" for x in lines))
    return f"model=recorded:{path}"


def test_missing_rows_and_aspects_are_excluded(posts, tmp_path):
    override = teacher_override(
        tmp_path, teacher_example(0), teacher_example(1, n=1), *map(teacher_example, range(3, 6))
    )
    result, rows, rejected = job(posts, override)
    assert [len(r.opinions) for r in rows] == [2, 1, 0, 2, 2, 2]
    assert [(a["post"], a["excluded"]) for a in rejected] == [
        ("p1", True),
        ("p2", True),
        ("p2", True),
    ]
    assert "no opinion on this aspect" in rejected[0]["reason"]
    assert "no row for this post" in rejected[1]["reason"]
    assert result.summary.filters["answer"].rejected == 3


def test_duplicate_teacher_row_stops_job_before_writing(posts, tmp_path):
    override = teacher_override(
        tmp_path, *map(teacher_example, range(6)), teacher_example(2, Polarity.NEGATIVE)
    )
    with pytest.raises(UserError, match="post 'p2' is in the file twice"):
        job(posts, override)
    assert not (tmp_path / "out.jsonl").exists()


def test_contradictory_teacher_row_is_rejected(posts, tmp_path):
    contradiction = teacher_example(3, Polarity.NEGATIVE).opinions[:1]
    override = teacher_override(
        tmp_path,
        *map(teacher_example, (0, 1, 2, 4, 5)),
        teacher_example(3).with_opinions(*contradiction),
    )
    result, rows, rejected = job(posts, override)
    assert [r.post.id for r in rows] == ["p0", "p1", "p2", "p4", "p5"]
    assert "two opinions by t on one aspect" in rejected[0]["reason"]
    assert (result.counts.rejected, result.counts.filtered_out) == (1, 0)
    assert result.counts.rows == 6


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "2.0", '"x"', "null"])
def test_invalid_probabilities_are_rejected(posts, tmp_path, bad):
    tree = json.loads(teacher_example(2).model_dump_json())
    tree["opinions"][0]["probs"] = {"negative": 0.5, "neutral": 0.25, "positive": "HERE"}
    line = json.dumps(tree).replace('"HERE"', bad) + "\n"
    _, rows, rejected = job(
        posts,
        teacher_override(
            tmp_path, *map(teacher_example, (0, 1)), line, *map(teacher_example, (3, 4, 5))
        ),
    )
    assert [len(r.opinions) for r in rows] == [2, 2, 0, 2, 2, 2]
    assert "line 3" in rejected[0]["reason"]


def test_unanswered_requests_are_retried_on_next_run(tmp_path):
    posts = write_posts(tmp_path / "posts.jsonl", map(post, range(40)))
    timed_out: set[str] = set()

    def plan(text, attempt):
        is_unanswered = attempt == 0 and random.Random(text).random() < 0.2
        timed_out.update({text} if is_unanswered else ())
        return "hang" if is_unanswered else ""

    def answer(body):
        content = {"sentiment": "positive", "explanation": "Because the words of the post say so"}
        return reply(json.dumps(content), model=body["model"])

    with FakeOpenAI(plan, answer=answer) as server:
        overrides = [
            f"model=http:{server.url}#m", "backend.timeout=2.0", "backend.retries=0",
            "prompt=teacher/rationale", "retries=0", "chunk=20",
        ]  # fmt: skip
        first, rows, rejected = job(posts, *overrides, cache_path=tmp_path / "a.cache")
        assert 0 < len(timed_out) < 40
        assert first.summary.unanswered == len(rejected) == len(timed_out)
        assert all("error" in a["reason"] for a in rejected)
        assert sum(len(r.opinions) for r in rows) == 80 - len(timed_out)
        assert Status.ERROR not in {o.status for r in rows for o in r.opinions}
        second, rows, rejected = job(posts, *overrides, cache_path=tmp_path / "a.cache")
        calls = [last_message_text(body) for body in server.request_bodies]
    assert rejected == []
    assert [len(r.opinions) for r in rows] == [2] * 40
    assert second.summary.unanswered == 0
    assert second.counts.from_cache == 40 - first.counts.unanswered
    # The failed requests are sent again, and the other request about the same post.
    assert len(calls) == 80 + 2 * first.counts.unanswered
