"""Shards of a job: every row is in one of them; merged they equal one job, byte for byte."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.annotation import (
    AnnotateSettings,
    JobSettings,
    Shard,
    annotate,
    annotate_shard,
    make_job_teacher,
    merge_shards,
)
from gen_msa.annotation.output import chunks
from gen_msa.answer_cache import AnswerCache, merge_caches
from gen_msa.data import ExampleSource, open_examples
from gen_msa.errors import UserError
from gen_msa.resources import find_resource
from gen_msa.settings import load
from gen_msa.types import Example, Post
from tests.fixtures.posts import post, write_image, write_posts

ECHO = JobSettings(model="echo", chunk=7, cues={})
FILTERS = {"mentions_aspect": {}, "length": {}, "near_duplicate": {"max_similarity": 0.5}}
FILTERED = AnnotateSettings(
    model="echo", chunk=7, cues={}, prompt="teacher/rationale", filters=FILTERS, retries=2
)
OUTPUT_SUFFIXES = (".jsonl", ".rejected.jsonl", ".settings.yaml")


@pytest.fixture
def path(tmp_path):
    """Return a file of fifty posts, an invalid line, and a repeated id."""
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(50)))
    with path.open("a") as f:
        f.write("{bad\n" + path.read_text().splitlines()[3] + "\n")
    return path


def run_shard(path, i, n, settings=ECHO, reuse_cache=(), use_cache=True):
    shard_id = Shard(i, n)
    shard_path = shard_id.path_beside(path.parent / "o.jsonl", ".part")
    cache_path = shard_id.path_beside(path.parent / "o.jsonl", ".cache") if use_cache else None
    source = open_examples(str(path))
    return shard_path, annotate_shard(
        source, shard_path, shard_id, settings, cache_path=cache_path, reuse_cache=reuse_cache
    )


def run_shards(path, n, settings=ECHO, **more):
    return [run_shard(path, i, n, settings, **more)[0] for i in range(1, n + 1)]


@given(
    ids=st.lists(st.text("abc", min_size=1, max_size=2), max_size=60),
    size=st.integers(1, 9),
    n_shards=st.integers(1, 7),
)
def test_every_row_belongs_to_exactly_one_shard(ids, size, n_shards):
    source = ExampleSource(
        "x", None, lambda: iter([Example(post=Post(id=i, text="t")) for i in ids])
    )
    all_chunks = list(chunks(source, size, None, "echo"))
    assigned = [
        c.index
        for i in range(1, n_shards + 1)
        for c in all_chunks
        if Shard(i, n_shards).owns(c.index)
    ]
    assert sorted(assigned) == list(range(len(all_chunks))) == [c.index for c in all_chunks]
    rows = [n for c in all_chunks for n in (*c.row_numbers, *(r.line for r in c.rejected))]
    assert sorted(rows) == list(range(1, len(ids) + 1))


@pytest.mark.parametrize("settings", [ECHO, FILTERED], ids=["explain", "annotate"])
def test_merged_shards_match_a_single_job(path, settings):
    single_path = path.parent / "w.jsonl"
    single = annotate(open_examples(str(path)), single_path, settings)
    assert single.counts.rejected == 2
    for n in (1, 2, 3, 4, 11):
        out = path.parent / "o.jsonl"
        merged, merged_settings = merge_shards(
            run_shards(path, n, settings, use_cache=False)[::-1], out
        )
        for suffix in OUTPUT_SUFFIXES:
            assert (
                out.with_suffix(suffix).read_bytes() == single_path.with_suffix(suffix).read_bytes()
            )
        assert (merged.counts, merged.fingerprint, merged_settings) == (
            single.counts,
            single.fingerprint,
            settings,
        )
        assert merged.posts_sha256 == single.posts_sha256
        if settings is FILTERED:
            volatile = {"seconds"}
            assert merged.summary.model_dump(exclude=volatile) == single.summary.model_dump(
                exclude=volatile
            )


def test_file_filter_sees_rows_of_other_shards(path):
    """Without the check at merge, each shard would accept the same explanation once."""
    merged, _ = merge_shards(run_shards(path, 3, FILTERED), path.parent / "o.jsonl")
    assert merged.summary.filters["near_duplicate"].rejected > 0
    assert (
        merged.summary.filters["near_duplicate"].checked
        == annotate(open_examples(str(path)), path.parent / "w.jsonl", FILTERED)
        .summary.filters["near_duplicate"]
        .checked
    )


def assert_merge_rejected(files, out, *fragments):
    with pytest.raises(UserError) as e:
        merge_shards(files, out)
    assert not out.exists()
    assert e.value.hint
    for fragment in fragments:
        assert fragment in str(e.value), (fragment, str(e.value))


def test_merge_rejects_shards_that_do_not_match(path, tmp_path):
    out = tmp_path / "o.jsonl"
    first, second = run_shards(path, 2)
    assert_merge_rejected([first], out, "no part of shard 2/2", "--shard 2/2")
    assert_merge_rejected([first, first, second], out, "both shard 1/2", str(first))
    assert_merge_rejected([first, run_shard(path, 2, 3)[0]], out, "2 shards and 3", "--reuse-cache")
    original = second.read_bytes()
    run_shard(path, 2, 2, load(JobSettings, None, ["model=echo", "chunk=7", "prompt=predict/full"]))
    assert_merge_rejected(
        [first, second], out, str(second), "fingerprint.settings.cues", "settings.prompt"
    )
    run_shard(path, 2, 2, ECHO.model_copy(update={"limit": 30}))
    assert_merge_rejected([first, second], out, "different posts")
    write_posts(path, map(post, range(51)))
    run_shard(path, 2, 2)
    assert_merge_rejected([first, second], out, "different posts")
    second.write_bytes(original[: len(original) // 2])
    assert_merge_rejected([first, second], out, str(second), "not a complete part")
    second.write_bytes(original.replace(b"The screen", b"The scream", 1))
    assert_merge_rejected([first, second], out, str(second), "was altered")
    assert_merge_rejected([first, path], out, str(path), "not a complete part")
    assert_merge_rejected([first, tmp_path / "none.part"], out, "none.part")
    assert_merge_rejected([], out, "no parts")
    assert not out.exists()


def test_shards_may_differ_in_run_settings(path):
    first, _ = run_shard(path, 1, 2)
    second, _ = run_shard(path, 2, 2, ECHO.model_copy(update={"workers": 2, "max_error_rate": 0.5}))
    assert merge_shards([first, second], path.parent / "o.jsonl")[0].counts.written == 50


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", "٢/٤", ""])
def test_shard_parse_rejects_invalid_text(text):
    with pytest.raises(UserError, match="not a shard"):
        Shard.parse(text)
    assert str(Shard.parse(" 2/4 ")) == "2/4"


def test_cache_is_reused_across_shard_counts(path):
    """No answered request is sent again (fault 15)."""
    folder, source = path.parent, open_examples(str(path))
    teacher = make_job_teacher(source, ECHO)

    def n_cached(i, n, *reuse_cache):
        shard_id, out = Shard(i, n), folder / f"from{len(reuse_cache)}.jsonl"
        cache_path = shard_id.path_beside(out, ".cache")
        cache_path.unlink(missing_ok=True)
        kwargs = {"cache_path": cache_path, "reuse_cache": reuse_cache, "teacher": teacher}
        result = annotate_shard(
            source, shard_id.path_beside(out, ".part"), shard_id, ECHO, **kwargs
        )
        return result.counts.from_cache

    for before in (1, 2, 3, 4):
        assert sum(n_cached(i, before) for i in range(1, before + 1)) == 0
        merged_cache = folder / f"all{before}.cache"
        assert merge_caches(sorted(folder.glob(f"from0.*-of-{before}.cache")), merged_cache) == 50
        for after in (1, 2, 3, 4):
            assert sum(n_cached(i, after, merged_cache) for i in range(1, after + 1)) == 50


def test_answers_of_reused_cache_are_copied(path):
    run_shards(path, 2)
    other_caches = [path.parent / f"o.{i}-of-2.cache" for i in (1, 2)]
    _, result = run_shard(path, 1, 1, reuse_cache=other_caches)
    assert result.counts.from_cache == 50
    for cache_path in other_caches:
        cache_path.unlink()
    assert run_shard(path, 1, 1)[1].counts.from_cache == 50
    with pytest.raises(UserError, match=r"gone\.cache is not an answer cache"):
        run_shard(path, 1, 1, reuse_cache=[path.parent / "gone.cache"])
    with pytest.raises(UserError, match="is not an answer cache"):
        merge_caches([path], path.parent / "all.cache")


def test_merged_cache_is_reused_read_only(path):
    run_shards(path, 2)
    merged_cache = path.parent / "all.cache"
    merge_caches(sorted(path.parent.glob("o.*.cache")), merged_cache)
    assert not merged_cache.with_name("all.cache-wal").exists()
    before = hashlib.sha256(merged_cache.read_bytes()).digest()
    with AnswerCache(path.parent / "new.cache", [merged_cache]) as cache:
        assert len(cache) == 0
    assert hashlib.sha256(merged_cache.read_bytes()).digest() == before


def test_reuse_cache_misses_on_everything_that_shapes_an_answer(tmp_path):
    """Eight things changed one at a time, eight misses; unchanged, a hit."""
    write_image(tmp_path / "a.png", "red")
    prompt_path, script = tmp_path / "mine.jinja", tmp_path / "script.jsonl"
    prompt_path.write_text(find_resource("prompts", "predict/plain", ".jinja").read_text())
    script.write_text('{"match": "no such words", "text": "x"}\n')
    overrides = ["model=echo", f"prompt={prompt_path}", f"backend.script={script}", "cues={}"]
    path = write_posts(tmp_path / "posts.jsonl", [post(1, images=["a.png"])])
    reuse_cache = tmp_path / "other.cache"

    def n_cached(*more):
        settings = load(JobSettings, None, [*overrides, *more])
        return run_shard(path, 1, 1, settings, [reuse_cache])[1].counts.from_cache

    with AnswerCache(reuse_cache):
        pass
    assert n_cached() == 0
    merge_caches([tmp_path / "o.1-of-1.cache"], reuse_cache)
    (tmp_path / "o.1-of-1.cache").unlink()
    assert n_cached() == 1
    for change in ("model=echo:7", "max_new_tokens=11", "image.max_pixels=4096"):
        assert n_cached(change) == 0, change
    assert n_cached("prompt=predict/full") == 0
    prompt_path.write_text(prompt_path.read_text() + "Be brief.\n")
    assert n_cached() == 0
    script.write_text('{"match": "no such word", "text": "x"}\n')
    assert n_cached() == 0
    write_image(tmp_path / "a.png", "blue")
    assert n_cached() == 0
    write_posts(path, [post(1, images=["a.png"]).model_copy(update={"text": post(1).text + "!"})])
    assert n_cached() == 0
    assert n_cached() == 1


def test_shard_errors_are_retried_before_merging(path, tmp_path):
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "#49", "error": "server on fire"}\n')
    settings = load(
        JobSettings, None, ["model=echo", f"backend.script={script}", "cues={}", "chunk=7"]
    )
    run_shards(path, 2, settings)
    merged, _ = merge_shards(run_shards(path, 2, settings), tmp_path / "o.jsonl")
    assert merged.counts.unanswered == 1
    assert merged.counts.from_cache == 49
    rows = [json.loads(x) for x in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert {o["status"] for o in rows[49]["opinions"]} == {"error"}
