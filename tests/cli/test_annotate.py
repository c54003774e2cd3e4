"""`gen-msa annotate` on the command line, with the packaged fake model."""

import json
import os

import pytest

from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import example

FILTERS = "filters={mentions_aspect: {}, length: {max_words: 60}}"


def rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def posts(tmp_path):
    return write_posts(tmp_path / "posts.jsonl", map(post, range(12)))


def test_request_and_cost_come_first_and_summary_last(gen_msa, posts, tmp_path):
    out = tmp_path / "t.jsonl"
    prices = "prices={input: 1000, output: 1000}"
    completed = gen_msa("annotate", posts, "-m", "echo", "-o", out, FILTERS, prices, "cues={}")
    assert completed.code == 0, completed.err
    assert completed.out == ""
    first, last = completed.err.split("estimate: 12 posts, 24 requests to echo", 1)
    assert 'What is the sentiment toward "screen"?' in first
    assert "prompt tokens" in last
    assert "cost: " in last
    assert last.index("cost: ") < last.index("mentions_aspect") < last.index("after a retry")
    assert "no gold labels to compare with" in last
    summary = json.loads((tmp_path / "t.summary.json").read_text())
    assert summary["accepted"] == sum(len(r["opinions"]) for r in rows(out))
    assert len(rows(tmp_path / "t.rejected.jsonl")) == summary["answers"] - summary["accepted"]


def test_dry_run_asks_and_writes_nothing(gen_msa, posts, tmp_path):
    completed = gen_msa("annotate", posts, "-m", "echo", "-o", tmp_path / "t.jsonl", "--dry-run")
    assert completed.code == 0
    assert "estimate: 12 posts" in completed.err
    assert [p.name for p in tmp_path.iterdir()] == ["posts.jsonl"]


def test_second_run_uses_the_cache_by_default(gen_msa, posts, tmp_path):
    command = ("annotate", posts, "-m", "echo", "-o", tmp_path / "t.jsonl", FILTERS, "cues={}")
    gen_msa(*command)
    before = (tmp_path / "t.jsonl").read_bytes()
    assert "12 posts answered from the cache" in gen_msa(*command).err
    stderr = gen_msa(*command, "--no-cache").err
    assert "12 posts answered" not in stderr
    assert (tmp_path / "t.jsonl").read_bytes() == before


def test_annotated_file_can_be_filtered_as_a_teacher(gen_msa, posts, tmp_path):
    """Filters can be tried on recorded answers: ask once, filter often."""
    unfiltered, filtered = tmp_path / "raw.jsonl", tmp_path / "kept.jsonl"
    gen_msa("annotate", posts, "-m", "echo", "-o", unfiltered, "cues={}")
    assert sum(len(r["opinions"]) for r in rows(unfiltered)) == 24
    completed = gen_msa("annotate", posts, "-m", f"recorded:{unfiltered}", "-o", filtered, FILTERS)
    assert completed.code == 0, completed.err
    assert 0 < sum(len(r["opinions"]) for r in rows(filtered)) < 24


@pytest.mark.parametrize("name", ["label", "context", "describe", "aspects"])
def test_teacher_prompt_runs(gen_msa, posts, tmp_path, name):
    out = tmp_path / "t.jsonl"
    options = ("-p", f"teacher/{name}", "cues={}", "limit=4")
    completed = gen_msa("annotate", posts, "-m", "echo", "-o", out, *options)
    assert completed.code == 0, completed.err
    opinions = [o for r in rows(out) for o in r["opinions"]]
    assert opinions
    assert {o["provenance"]["prompt"].partition("@")[0] for o in opinions} == {f"teacher/{name}"}
    expected_counts = {"describe": 4, "label": 8, "context": 8}
    assert len(opinions) == expected_counts.get(name, len(opinions))


def test_gold_agreement_is_printed(gen_msa, tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(example(i).model_dump_json() + "\n" for i in range(9)))
    completed = gen_msa(
        "annotate", path, "-m", "echo", "-o", tmp_path / "t.jsonl", FILTERS, "cues={}"
    )
    assert "first answers against gold: kappa" in completed.err
    assert "accepted answers against gold: kappa" in completed.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["filters={mention_aspect: {}}"], "did you mean 'mentions_aspect'"),
        (["filters={length: {max_word: 3}}"], "did you mean 'max_words'"),
        (["guided=true", "-p", "teacher/rationale"], "not named as a train split"),
        (["-o", "t.parquet"], "must end in .jsonl"),
        (["filter={}"], "did you mean 'filters'"),
    ],
)
def test_user_error_is_reported_before_the_first_request(gen_msa, posts, tmp_path, more, message):
    completed = gen_msa("annotate", posts, "-m", "echo", "-o", tmp_path / "t.jsonl", *more)
    assert completed.code == 2
    assert message in completed.err
    assert "Traceback" not in completed.err
    assert not (tmp_path / "t.cache").exists()


@pytest.mark.skipif("GEN_MSA_DATA" not in os.environ, reason="GEN_MSA_DATA is not set")
def test_recorded_rationales_are_filtered(gen_msa, tmp_path):
    names = "plain_prose mentions_aspect length verbatim_quotes contradiction near_duplicate"
    filters = f"filters={{{', '.join(f'{name}: {{}}' for name in names.split())}}}"
    model_option = ("--model", "minigpt4:twitter2015:dev")
    completed = gen_msa(
        "annotate", "twitter2015:dev", *model_option, "-o", tmp_path / "t.jsonl", filters
    )
    assert completed.code == 0, completed.err
    summary = json.loads((tmp_path / "t.summary.json").read_text())
    assert (summary["posts"], summary["questions"]) == (727, 1122)
    assert summary["accepted"] + summary["excluded"] == 1122
    assert summary["first_answers"]["accuracy"] == pytest.approx(0.601, abs=0.005)
    assert 0.5 < summary["accepted"] / summary["questions"] < 0.8
    assert summary["label_fields"] == 0
