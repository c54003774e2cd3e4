"""`gen-msa annotate` as a user calls it, with the shipped fake."""

import json
import os

import pytest

from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import example

GATES = "gates={naming: {}, length: {max_words: 60}}"


def rows(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def posts(tmp_path):
    return write_posts(tmp_path / "posts.jsonl", map(post, range(12)))


def test_the_question_and_the_cost_come_first_and_the_summary_last(gen_msa, posts, tmp_path):
    out = tmp_path / "t.jsonl"
    money = "prices={input: 1000, output: 1000}"
    ran = gen_msa("annotate", posts, "-r", "echo", "-o", out, GATES, money, "cues={}")
    assert ran.code == 0, ran.err
    assert ran.out == ""
    first, last = ran.err.split("ahead: 12 posts, 24 questions to echo", 1)
    assert 'What is the sentiment toward "screen"?' in first
    assert "tokens of prompts" in last
    assert "in money" in last
    assert last.index("in money") < last.index("naming") < last.index("further try")
    assert "no gold to hold them against" in last
    summary = json.loads((tmp_path / "t.summary.json").read_text())
    assert summary["accepted"] == sum(len(r["opinions"]) for r in rows(out))
    assert len(rows(tmp_path / "t.rejected.jsonl")) == summary["answers"] - summary["accepted"]


def test_a_dry_run_asks_nothing_and_writes_nothing(gen_msa, posts, tmp_path):
    ran = gen_msa("annotate", posts, "-r", "echo", "-o", tmp_path / "t.jsonl", "--dry-run")
    assert ran.code == 0
    assert "ahead: 12 posts" in ran.err
    assert [p.name for p in tmp_path.iterdir()] == ["posts.jsonl"]


def test_a_second_run_asks_nothing_and_fresh_asks_again(gen_msa, posts, tmp_path):
    command = ("annotate", posts, "-r", "echo", "-o", tmp_path / "t.jsonl", GATES, "cues={}")
    gen_msa(*command)
    before = (tmp_path / "t.jsonl").read_bytes()
    assert "12 posts answered from the ledger" in gen_msa(*command).err
    again = gen_msa(*command, "--fresh").err
    assert "12 posts answered" not in again
    assert (tmp_path / "t.jsonl").read_bytes() == before


def test_accepted_opinions_are_a_teacher_for_the_next_job(gen_msa, posts, tmp_path):
    """Gates are tried on answers that are paid for: asked once, gated often."""
    raw, kept = tmp_path / "raw.jsonl", tmp_path / "kept.jsonl"
    gen_msa("annotate", posts, "-r", "echo", "-o", raw, "cues={}")
    assert sum(len(r["opinions"]) for r in rows(raw)) == 24
    ran = gen_msa("annotate", posts, "-r", f"file:{raw}", "-o", kept, GATES)
    assert ran.code == 0, ran.err
    assert 0 < sum(len(r["opinions"]) for r in rows(kept)) < 24


@pytest.mark.parametrize("name", ["label", "context", "describe", "aspects"])
def test_every_teacher_prompt_is_asked_in_its_own_way(gen_msa, posts, tmp_path, name):
    out = tmp_path / "t.jsonl"
    own = ("-p", f"teacher/{name}", "cues={}", "limit=4")
    ran = gen_msa("annotate", posts, "-r", "echo", "-o", out, *own)
    assert ran.code == 0, ran.err
    said = [o for r in rows(out) for o in r["opinions"]]
    assert said
    assert {o["how"]["prompt"].partition("@")[0] for o in said} == {f"teacher/{name}"}
    whole = {"describe": 4, "label": 8, "context": 8}
    assert len(said) == whole.get(name, len(said))


def test_agreement_with_gold_is_told(gen_msa, tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(example(i).model_dump_json() + "\n" for i in range(9)))
    ran = gen_msa("annotate", path, "-r", "echo", "-o", tmp_path / "t.jsonl", GATES, "cues={}")
    assert "first answers against gold: kappa" in ran.err
    assert "accepted answers against gold: kappa" in ran.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["gates={nameing: {}}"], "did you mean 'naming'"),
        (["gates={length: {max_word: 3}}"], "did you mean 'max_words'"),
        (["guided=true", "-p", "teacher/rationale"], "not named as a train split"),
        (["-o", "t.parquet"], "write .jsonl"),
        (["gate={}"], "did you mean 'gates'"),
    ],
)
def test_what_a_user_gets_wrong_is_said_before_anything_is_asked(
    gen_msa, posts, tmp_path, more, said
):
    ran = gen_msa("annotate", posts, "-r", "echo", "-o", tmp_path / "t.jsonl", *more)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "t.ledger").exists()


@pytest.mark.skipif("GEN_MSA_DATA" not in os.environ, reason="GEN_MSA_DATA is not set")
def test_the_recorded_rationales_of_a_real_teacher_are_gated(gen_msa, tmp_path):
    gates = "gates={prose: {}, naming: {}, length: {}, quoting: {}, contradiction: {}, novelty: {}}"
    reader = ("--reader", "minigpt4:twitter2015:dev")
    ran = gen_msa("annotate", "twitter2015:dev", *reader, "-o", tmp_path / "t.jsonl", gates)
    assert ran.code == 0, ran.err
    s = json.loads((tmp_path / "t.summary.json").read_text())
    assert (s["posts"], s["questions"]) == (727, 1122)
    assert s["accepted"] + s["excluded"] == 1122
    assert s["first_answers"]["accuracy"] == pytest.approx(0.601, abs=0.005)
    assert 0.5 < s["accepted"] / s["questions"] < 0.8
    assert s["label_fields"] == 0
