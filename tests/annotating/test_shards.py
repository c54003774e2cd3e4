"""Shards of a job: every row in one of them, and merged they are the job, byte for byte."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.annotating import (
    AnnotateSettings,
    JobSettings,
    Shard,
    annotate,
    annotate_shard,
    merge,
    prepared,
)
from gen_msa.annotating._rows import chunks
from gen_msa.data import Source, open_source
from gen_msa.errors import UserError
from gen_msa.ledger import Ledger, gather
from gen_msa.settings import load
from gen_msa.shipped import shipped
from gen_msa.types import Example, Post
from tests.fixtures.posts import post, write_picture, write_posts

ECHO = JobSettings(reader="echo", chunk=7, cues={})
GATES = {"naming": {}, "length": {}, "novelty": {"most": 0.5}}
GATED = AnnotateSettings(
    reader="echo", chunk=7, cues={}, prompt="teacher/rationale", gates=GATES, retries=2
)
BESIDE = (".jsonl", ".rejected.jsonl", ".settings.yaml")


@pytest.fixture
def path(tmp_path):
    """Fifty posts, a line that is none, and one whose id was met."""
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(50)))
    with path.open("a") as f:
        f.write("{bad\n" + path.read_text().splitlines()[3] + "\n")
    return path


def shard(path, i, n, settings=ECHO, known=(), ledger=True):
    mine = Shard(i, n)
    part = mine.beside(path.parent / "o.jsonl", ".part")
    book = mine.beside(path.parent / "o.jsonl", ".ledger") if ledger else None
    source = open_source(str(path))
    return part, annotate_shard(source, part, mine, settings, ledger_path=book, known=known)


def parts(path, n, settings=ECHO, **more):
    return [shard(path, i, n, settings, **more)[0] for i in range(1, n + 1)]


@given(
    ids=st.lists(st.text("abc", min_size=1, max_size=2), max_size=60),
    size=st.integers(1, 9),
    of=st.integers(1, 7),
)
def test_any_list_of_posts_is_parted_each_row_in_one_shard(ids, size, of):
    source = Source("x", None, lambda: iter([Example(post=Post(id=i, text="t")) for i in ids]))
    whole = list(chunks(source, size, None, "echo"))
    dealt = [c.index for i in range(1, of + 1) for c in whole if Shard(i, of).owns(c.index)]
    assert sorted(dealt) == list(range(len(whole))) == [c.index for c in whole]
    rows = [n for c in whole for n in (*c.numbers, *(r.line for r in c.rejected))]
    assert sorted(rows) == list(range(1, len(ids) + 1))


@pytest.mark.parametrize("settings", [ECHO, GATED], ids=["explain", "annotate"])
def test_merged_shards_are_the_bytes_of_the_whole_job(path, settings):
    whole = path.parent / "w.jsonl"
    alone = annotate(open_source(str(path)), whole, settings)
    assert alone.counts.rejected == 2
    for n in (1, 2, 3, 4, 11):
        out = path.parent / "o.jsonl"
        merged, said = merge(parts(path, n, settings, ledger=False)[::-1], out)
        for suffix in BESIDE:
            assert out.with_suffix(suffix).read_bytes() == whole.with_suffix(suffix).read_bytes()
        assert (merged.counts, merged.reader, said) == (alone.counts, alone.reader, settings)
        assert merged.posts_sha256 == alone.posts_sha256
        if settings is GATED:
            changing = {"seconds"}
            assert merged.summary.model_dump(exclude=changing) == alone.summary.model_dump(
                exclude=changing
            )


def test_a_gate_that_looks_at_the_whole_file_sees_other_shards(path):
    """Without its second look each shard would let the same reason pass once."""
    merged, _ = merge(parts(path, 3, GATED), path.parent / "o.jsonl")
    assert merged.summary.gates["novelty"].refused > 0
    assert (
        merged.summary.gates["novelty"].shown
        == annotate(open_source(str(path)), path.parent / "w.jsonl", GATED)
        .summary.gates["novelty"]
        .shown
    )


def refused(files, out, *words):
    with pytest.raises(UserError) as e:
        merge(files, out)
    assert not out.exists()
    assert e.value.mend
    for word in words:
        assert word in str(e.value), (word, str(e.value))


def test_what_does_not_belong_together_is_refused_by_name(path, tmp_path):
    out = tmp_path / "o.jsonl"
    one, two = parts(path, 2)
    refused([one], out, "no part of shard 2/2", "--shard 2/2")
    refused([one, one, two], out, "both shard 1/2", str(one))
    refused([one, shard(path, 2, 3)[0]], out, "2 shards and 3", "--known")
    kept = two.read_bytes()
    shard(path, 2, 2, load(JobSettings, None, ["reader=echo", "chunk=7", "prompt=reader/full"]))
    refused([one, two], out, str(two), "reader.settings.cues", "settings.prompt")
    shard(path, 2, 2, ECHO.model_copy(update={"limit": 30}))
    refused([one, two], out, "other posts")
    write_posts(path, map(post, range(51)))
    shard(path, 2, 2)
    refused([one, two], out, "other posts")
    two.write_bytes(kept[: len(kept) // 2])
    refused([one, two], out, str(two), "not a whole part")
    two.write_bytes(kept.replace(b"The screen", b"The scream", 1))
    refused([one, two], out, str(two), "was altered")
    refused([one, path], out, str(path), "not a whole part")
    refused([one, tmp_path / "none.part"], out, "none.part")
    refused([], out, "no parts")
    assert not out.exists()


def test_how_a_shard_was_run_is_nobodys_business(path):
    one, _ = shard(path, 1, 2)
    two, _ = shard(path, 2, 2, ECHO.model_copy(update={"workers": 2, "max_bad": 0.5}))
    assert merge([one, two], path.parent / "o.jsonl")[0].counts.written == 50


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", "٢/٤", ""])
def test_what_is_no_shard_is_said(text):
    with pytest.raises(UserError, match="not a shard"):
        Shard.parse(text)
    assert str(Shard.parse(" 2/4 ")) == "2/4"


def test_answers_pass_from_any_sharding_to_any_other(path):
    """Fault 15: nothing that was answered is asked again."""
    folder, source = path.parent, open_source(str(path))
    teacher = prepared(source, ECHO)

    def repeated(i, n, *known):
        mine, out = Shard(i, n), folder / f"from{len(known)}.jsonl"
        book = mine.beside(out, ".ledger")
        book.unlink(missing_ok=True)
        more = {"ledger_path": book, "known": known, "teacher": teacher}
        outcome = annotate_shard(source, mine.beside(out, ".part"), mine, ECHO, **more)
        return outcome.counts.repeated

    for before in (1, 2, 3, 4):
        assert sum(repeated(i, before) for i in range(1, before + 1)) == 0
        known = folder / f"all{before}.ledger"
        assert gather(sorted(folder.glob(f"from0.*-of-{before}.ledger")), known) == 50
        for after in (1, 2, 3, 4):
            assert sum(repeated(i, after, known) for i in range(1, after + 1)) == 50


def test_answers_found_in_a_known_ledger_are_taken_over(path):
    parts(path, 2)
    older = [path.parent / f"o.{i}-of-2.ledger" for i in (1, 2)]
    _, outcome = shard(path, 1, 1, known=older)
    assert outcome.counts.repeated == 50
    for ledger in older:
        ledger.unlink()
    assert shard(path, 1, 1)[1].counts.repeated == 50
    with pytest.raises(UserError, match=r"gone\.ledger is no ledger"):
        shard(path, 1, 1, known=[path.parent / "gone.ledger"])
    with pytest.raises(UserError, match="is no ledger"):
        gather([path], path.parent / "all.ledger")


def test_a_gathered_ledger_can_be_read_without_being_written(path):
    parts(path, 2)
    whole = path.parent / "all.ledger"
    gather(sorted(path.parent.glob("o.*.ledger")), whole)
    assert not whole.with_name("all.ledger-wal").exists()
    before = hashlib.sha256(whole.read_bytes()).digest()
    with Ledger(path.parent / "new.ledger", [whole]) as book:
        assert len(book) == 0
    assert hashlib.sha256(whole.read_bytes()).digest() == before


def test_whatever_shapes_an_answer_is_a_miss_in_a_known_ledger(tmp_path):
    """Eight things changed one at a time, eight misses; unchanged, a hit."""
    write_picture(tmp_path / "a.png", "red")
    own, script = tmp_path / "mine.jinja", tmp_path / "script.jsonl"
    own.write_text(shipped("prompts", "reader/plain", ".jinja").read_text())
    script.write_text('{"match": "no such words", "text": "x"}\n')
    given = ["reader=echo", f"prompt={own}", f"backend.script={script}", "cues={}"]
    path = write_posts(tmp_path / "posts.jsonl", [post(1, pictures=["a.png"])])
    known = tmp_path / "known.ledger"

    def repeated(*more):
        settings = load(JobSettings, None, [*given, *more])
        return shard(path, 1, 1, settings, [known])[1].counts.repeated

    with Ledger(known):
        pass
    assert repeated() == 0
    gather([tmp_path / "o.1-of-1.ledger"], known)
    (tmp_path / "o.1-of-1.ledger").unlink()
    assert repeated() == 1
    for change in ("reader=echo:7", "max_new_tokens=11", "picture.max_pixels=4096"):
        assert repeated(change) == 0, change
    assert repeated("prompt=reader/full") == 0
    own.write_text(own.read_text() + "Be brief.\n")
    assert repeated() == 0
    script.write_text('{"match": "no such word", "text": "x"}\n')
    assert repeated() == 0
    write_picture(tmp_path / "a.png", "blue")
    assert repeated() == 0
    write_posts(path, [post(1, pictures=["a.png"]).model_copy(update={"text": post(1).text + "!"})])
    assert repeated() == 0
    assert repeated() == 1


def test_an_error_in_a_shard_is_asked_again_and_then_merged(path, tmp_path):
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "#49", "error": "server on fire"}\n')
    settings = load(
        JobSettings, None, ["reader=echo", f"backend.script={script}", "cues={}", "chunk=7"]
    )
    parts(path, 2, settings)
    merged, _ = merge(parts(path, 2, settings), tmp_path / "o.jsonl")
    assert merged.counts.unanswered == 1
    assert merged.counts.repeated == 49
    rows = [json.loads(x) for x in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert {o["status"] for o in rows[49]["opinions"]} == {"error"}
