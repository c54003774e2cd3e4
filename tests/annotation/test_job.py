"""A job over a source: every good row once, every bad row named, for any worker count."""

import hashlib
import json

import pytest

from gen_msa.annotation import JobSettings, annotate
from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.resources import find_resource
from gen_msa.settings import load
from tests.fixtures.posts import post, write_image, write_posts

ECHO = JobSettings(model="echo", chunk=7, cues={})


def run(path, settings=ECHO, cache_path=None, root=None):
    out = path.parent / "out.jsonl"
    source = open_examples(str(path), media_root=root)
    result = annotate(source, out, settings, cache_path=cache_path)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    return result, rows


def test_output_has_one_opinion_per_aspect_in_input_order(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(50)))
    result, rows = run(path)
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(50)]
    assert [[o["aspect"] for o in r["opinions"]] for r in rows] == [
        r["post"]["aspects"] for r in rows
    ]
    assert result.counts.rows == result.counts.written == 50
    assert result.counts.opinions == 100
    assert result.rejected_file is None


def test_bad_rows_are_rejected_with_line_and_reason(tmp_path):
    lines = [json.dumps({"post": json.loads(post(i).model_dump_json())}) for i in range(6)]
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join([*lines[:3], "{broken", lines[1], *lines[3:]]) + "\n")
    result, rows = run(path)
    assert [r["post"]["id"] for r in rows] == [f"p{i}" for i in range(6)]
    assert result.counts.rejected == 2
    assert result.counts.rows == 8
    rejected = [json.loads(x) for x in result.rejected_file.read_text().splitlines()]
    assert [r["line"] for r in rejected] == [4, 5]
    assert "id 'p1' is also in row 2" in rejected[1]["reason"]
    assert result.exceeds_error_rate(ECHO)
    assert not result.exceeds_error_rate(ECHO.model_copy(update={"max_error_rate": 0.5}))


def test_rows_with_opinions_of_the_same_model_are_rejected(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(3)))
    run(path)
    result, rows = run(tmp_path / "out.jsonl")
    assert rows == []
    assert result.counts.rejected == 3


def test_second_run_is_answered_from_cache_with_same_bytes(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(40)))
    run(path, cache_path=tmp_path / "a.cache")
    first = (tmp_path / "out.jsonl").read_bytes()
    result, _ = run(path, cache_path=tmp_path / "a.cache")
    assert result.counts.from_cache == 40
    assert (tmp_path / "out.jsonl").read_bytes() == first


def test_output_is_independent_of_worker_count(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(60)))
    digests = set()
    for workers in (1, 2, 3, 4):
        run(path, ECHO.model_copy(update={"workers": workers, "limit": 50}))
        digests.add(hashlib.sha256((tmp_path / "out.jsonl").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_cache_is_reused_with_another_worker_count(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(30)))
    cache_path = tmp_path / "a.cache"
    run(path, ECHO.model_copy(update={"limit": 20}), cache_path)
    result, rows = run(path, ECHO.model_copy(update={"workers": 2, "chunk": 4}), cache_path)
    assert result.counts.from_cache == 20
    assert len(rows) == 30


def test_cache_key_covers_everything_that_shapes_an_answer(tmp_path):
    """Eight things changed one at a time, eight misses."""
    write_image(tmp_path / "a.png", "red")
    prompt_path = tmp_path / "mine.jinja"
    prompt_path.write_text(find_resource("prompts", "predict/plain", ".jinja").read_text())
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "no such words", "text": "x"}\n')
    overrides = ["model=echo", f"prompt={prompt_path}", f"backend.script={script}", "cues={}"]
    base = load(JobSettings, None, overrides)
    path = write_posts(tmp_path / "posts.jsonl", [post(1, images=["a.png"])])
    cache_path = tmp_path / "a.cache"

    def n_cached(settings=base):
        return run(path, settings, cache_path)[0].counts.from_cache

    assert n_cached() == 0
    assert n_cached() == 1
    for change in (
        "model=echo:7",
        "max_new_tokens=11",
        "image.max_pixels=4096",
        "prompt=predict/full",
    ):
        assert n_cached(load(JobSettings, None, [*overrides, change])) == 0, change
    prompt_path.write_text(prompt_path.read_text() + "Be brief.\n")
    assert n_cached() == 0
    script.write_text('{"match": "no such word", "text": "x"}\n')
    assert n_cached() == 0
    write_image(tmp_path / "a.png", "blue")
    assert n_cached() == 0
    write_posts(path, [post(1, images=["a.png"]).model_copy(update={"text": post(1).text + "!"})])
    assert n_cached() == 0
    assert n_cached() == 1


def test_failed_request_is_marked_and_retried_on_next_run(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(4)))
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "#2", "error": "server on fire"}\n')
    settings = load(JobSettings, None, ["model=echo", f"backend.script={script}"])
    result, rows = run(path, settings, tmp_path / "a.cache")
    assert result.counts.unanswered == 1
    assert {o["status"] for o in rows[2]["opinions"]} == {"error"}
    assert {o["provenance"]["error"] for o in rows[2]["opinions"]} == {"server on fire"}
    assert result.exceeds_error_rate(settings)
    second, _ = run(path, settings, tmp_path / "a.cache")
    assert second.counts.from_cache == 3


def test_job_stops_when_every_request_of_first_chunk_fails(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", map(post, range(30)))
    script = tmp_path / "script.jsonl"
    script.write_text('{"match": "", "error": "401: wrong key"}\n')
    settings = load(JobSettings, None, ["model=echo", f"backend.script={script}", "chunk=8"])
    with pytest.raises(UserError, match="none of the first 8 posts got an answer: 401"):
        run(path, settings, tmp_path / "a.cache")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("policy", ["text-only", "drop", "fail"])
def test_bad_image_policy_is_applied_and_recorded(tmp_path, policy):
    write_image(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"<html>not found</html>")
    posts = [post(0, images=["good.png"]), post(1, images=["bad.png"])]
    path = write_posts(tmp_path / "posts.jsonl", [*posts, post(2, images=["missing.png"])])
    settings = load(JobSettings, None, ["model=echo", f"bad_image={policy}"])
    if policy == "fail":
        with pytest.raises(UserError, match="p1"):
            run(path, settings)
        return
    result, rows = run(path, settings)
    if policy == "drop":
        assert [r["post"]["id"] for r in rows] == ["p0"]
        assert result.counts.rejected == 2
        return
    notes = [r["opinions"][0]["provenance"].get("image", "") for r in rows]
    assert notes[0] == ""
    assert notes[1].startswith("not_an_image: bad.png")
    assert notes[2].startswith("missing: missing.png")


def test_job_settings_are_saved_beside_output(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", [post(0)])
    run(path)
    assert load(JobSettings, tmp_path / "out.settings.yaml") == ECHO
