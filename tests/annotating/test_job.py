"""A job over a source: every good row once, every bad row named, whatever the number of workers."""

import hashlib
import json

import pytest

from gen_msa.annotating import JobSettings, annotate
from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.settings import load
from gen_msa.shipped import shipped
from tests.fixtures.posts import post, write_picture, write_posts

ECHO = JobSettings(reader="echo", chunk=7, cues={})


def run(path, settings=ECHO, ledger=None, root=None):
    out = path.parent / "out.jsonl"
    source = open_source(str(path), media_root=root)
    outcome = annotate(source, out, settings, ledger_path=ledger)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    return outcome, rows


def test_every_post_gets_one_opinion_an_aspect_in_the_order_of_the_file(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(50)))
    outcome, rows = run(path)
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(50)]
    assert [[o["aspect"] for o in r["opinions"]] for r in rows] == [
        r["post"]["aspects"] for r in rows
    ]
    assert outcome.counts.rows == outcome.counts.written == 50
    assert outcome.counts.opinions == 100
    assert outcome.rejected_file is None


def test_bad_rows_are_set_aside_with_line_and_reason_and_the_rest_goes_on(tmp_path):
    lines = [json.dumps({"post": json.loads(post(i).model_dump_json())}) for i in range(6)]
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join([*lines[:3], "{broken", lines[1], *lines[3:]]) + "\n")
    outcome, rows = run(path)
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(6)]
    assert outcome.counts.rejected == 2
    assert outcome.counts.rows == 8
    rejected = [json.loads(x) for x in outcome.rejected_file.read_text().splitlines()]
    assert [r["line"] for r in rejected] == [4, 5]
    assert "id 'p1' already stands in row 2" in rejected[1]["reason"]
    assert outcome.too_bad(ECHO)
    assert not outcome.too_bad(ECHO.model_copy(update={"max_bad": 0.5}))


def test_posts_that_the_reader_has_read_before_are_not_read_twice_into_one_row(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(3)))
    run(path)
    outcome, rows = run(tmp_path / "out.jsonl")
    assert rows == []
    assert outcome.counts.rejected == 3


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(40)))
    run(path, ledger=tmp_path / "a.ledger")
    first = (tmp_path / "out.jsonl").read_bytes()
    outcome, _ = run(path, ledger=tmp_path / "a.ledger")
    assert outcome.counts.repeated == 40
    assert (tmp_path / "out.jsonl").read_bytes() == first


def test_one_to_four_workers_write_the_same_bytes(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(60)))
    seen = set()
    for workers in (1, 2, 3, 4):
        run(path, ECHO.model_copy(update={"workers": workers, "limit": 50}))
        seen.add(hashlib.sha256((tmp_path / "out.jsonl").read_bytes()).hexdigest())
    assert len(seen) == 1


def test_answers_of_one_worker_count_are_reused_by_another(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(30)))
    ledger = tmp_path / "a.ledger"
    run(path, ECHO.model_copy(update={"limit": 20}), ledger)
    outcome, rows = run(path, ECHO.model_copy(update={"workers": 2, "chunk": 4}), ledger)
    assert outcome.counts.repeated == 20
    assert len(rows) == 30


def test_whatever_shapes_an_answer_makes_a_new_key(tmp_path):
    """Eight things changed one at a time, eight misses."""
    write_picture(tmp_path / "a.png", "red")
    own = tmp_path / "mine.jinja"
    own.write_text(shipped("prompts", "reader/plain", ".jinja").read_text())
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "no such words", "text": "x"}\n')
    given = ["reader=echo", f"prompt={own}", f"backend.script={script}", "cues={}"]
    base = load(JobSettings, None, given)
    path = write_posts(tmp_path / "posts.jsonl", [post(1, pictures=["a.png"])])
    ledger = tmp_path / "a.ledger"

    def repeated(settings=base):
        return run(path, settings, ledger)[0].counts.repeated

    assert repeated() == 0
    assert repeated() == 1
    for change in (
        "reader=echo:7",
        "max_new_tokens=11",
        "picture.max_pixels=4096",
        "prompt=reader/full",
    ):
        assert repeated(load(JobSettings, None, [*given, change])) == 0, change
    own.write_text(own.read_text() + "Be brief.\n")
    assert repeated() == 0
    script.write_text('{"match": "no such word", "text": "x"}\n')
    assert repeated() == 0
    write_picture(tmp_path / "a.png", "blue")
    assert repeated() == 0
    write_posts(path, [post(1, pictures=["a.png"]).model_copy(update={"text": post(1).text + "!"})])
    assert repeated() == 0
    assert repeated() == 1


def test_an_error_is_kept_as_such_and_asked_again_next_time(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(4)))
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "#2", "error": "server on fire"}\n')
    settings = load(JobSettings, None, ["reader=echo", f"backend.script={script}"])
    outcome, rows = run(path, settings, tmp_path / "a.ledger")
    assert outcome.counts.unanswered == 1
    assert {o["status"] for o in rows[2]["opinions"]} == {"error"}
    assert {o["how"]["error"] for o in rows[2]["opinions"]} == {"server on fire"}
    assert outcome.too_bad(settings)
    again, _ = run(path, settings, tmp_path / "a.ledger")
    assert again.counts.repeated == 3


def test_a_reader_that_fails_for_every_post_is_not_asked_a_million_times(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(30)))
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "", "error": "401: wrong key"}\n')
    settings = load(JobSettings, None, ["reader=echo", f"backend.script={script}", "chunk=8"])
    with pytest.raises(UserError, match="none of the first 8 posts could be asked: 401"):
        run(path, settings, tmp_path / "a.ledger")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("policy", ["text-only", "drop", "fail"])
def test_a_bad_picture_is_never_silently_blank(tmp_path, policy):
    write_picture(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"<html>not found</html>")
    posts = [post(0, pictures=["good.png"]), post(1, pictures=["bad.png"])]
    path = write_posts(tmp_path / "posts.jsonl", [*posts, post(2, pictures=["missing.png"])])
    settings = load(JobSettings, None, ["reader=echo", f"bad_picture={policy}"])
    if policy == "fail":
        with pytest.raises(UserError, match="p1"):
            run(path, settings)
        return
    outcome, rows = run(path, settings)
    if policy == "drop":
        assert [r["post"]["id"] for r in rows] == ["p0"]
        assert outcome.counts.rejected == 2
        return
    said = [r["opinions"][0]["how"].get("picture", "") for r in rows]
    assert said[0] == ""
    assert said[1].startswith("not_a_picture: bad.png")
    assert said[2].startswith("missing: missing.png")


def test_the_settings_of_a_job_lie_beside_its_output(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", [post(0)])
    run(path)
    assert load(JobSettings, tmp_path / "out.settings.yaml") == ECHO
