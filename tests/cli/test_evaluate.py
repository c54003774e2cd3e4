"""`gen-msa evaluate` as a user calls it: a suite, a file of opinions, a stop in between."""

import json

import pytest
import yaml

from gen_msa.results import Result
from gen_msa.types import Example
from tests.evaluating.phones import example, save

LABELS = ["positive", "neutral", "negative"]


@pytest.fixture
def opinions(tmp_path):
    """Twelve posts with gold and two readers in one file."""
    rows = [example(i, LABELS[i % 3], a=LABELS[i % 3], b=LABELS[i % 2]) for i in range(12)]
    return save(tmp_path / "opinions.jsonl", rows)


def result(folder):
    return Result.model_validate_json((folder / "results.json").read_text("utf-8"))


def test_a_file_of_opinions_is_held_against_gold(gen_msa, opinions, tmp_path):
    out = tmp_path / "out"
    card = tmp_path / "CARD.md"
    ran = gen_msa(
        "evaluate", opinions, "--against", "gold", "-o", out, "--card", card, "replicates=200"
    )
    assert ran.code == 0, ran.err
    found = result(out)
    assert [r.name for r in found.readers] == ["a", "b"]
    assert found.readers[0].figures["labels"]["accuracy"].value == 1.0
    assert found.comparisons
    assert "a" in ran.out
    for name in ("report.html", "results.json", "samples.jsonl", "suite.yaml", "figures.csv"):
        assert (out / name).stat().st_size > 100, name
    assert "100.0" in (out / "figures.md").read_text("utf-8")
    assert "model-index" in card.read_text("utf-8")
    samples = (out / "samples.jsonl").read_text("utf-8").splitlines()
    assert len([Example.model_validate_json(line) for line in samples]) == 12
    assert yaml.safe_load((out / "suite.yaml").read_text("utf-8"))["replicates"] == 200


def test_readers_read_and_what_they_said_is_kept_for_the_next_run(gen_msa, opinions, tmp_path):
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        yaml.safe_dump(
            {
                "title": "Phones",
                "data": str(opinions),
                "readers": [
                    {"reader": "echo"},
                    {"name": "a again", "reader": f"file:{opinions}#a"},
                    {
                        "name": "echo, plain",
                        "reader": "echo",
                        "settings": {"prompt": "reader/plain"},
                    },
                ],
                "replicates": 200,
            }
        )
    )
    out = tmp_path / "out"
    ran = gen_msa("evaluate", suite, "-o", out)
    assert ran.code == 0, ran.err
    first = result(out)
    assert [r.name for r in first.readers] == ["echo", "a again", "echo, plain"]
    assert first.title == "Phones"
    assert first.readers[1].figures["labels"]["accuracy"].value == 1.0
    assert len(first.readers[0].facts["prompts"]["reader/full"]["prompt"]) == 64
    assert len(first.readers[2].facts["prompts"]["reader/plain"]["prompt"]) == 64
    assert first.readers[0].cost.seconds > 0
    again = gen_msa("evaluate", suite, "-o", out)
    assert again.code == 0
    second = result(out)
    assert second.readers[0].cost.seconds is None, "answers on record cost nothing to measure"
    assert second.readers[0].figures == first.readers[0].figures


def test_seeds_of_a_reader_are_averaged(gen_msa, opinions, tmp_path):
    out = tmp_path / "out"
    ran = gen_msa(
        "evaluate", opinions, "-r", f"file:{opinions}#a", "--seeds", f"file:{opinions}#b",
        "-o", out, "replicates=200",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    names = [r.name for r in result(out).readers]
    assert names[-1].endswith("mean of 2 seeds")
    assert len(names) == 3


def test_seeds_without_their_reader_are_refused(gen_msa, opinions):
    ran = gen_msa("evaluate", opinions, "--seeds", "echo")
    assert ran.code == 2
    assert "--seeds needs exactly one --reader" in ran.err


def test_probes_have_changed_posts_read(gen_msa, opinions, tmp_path):
    out = tmp_path / "out"
    ran = gen_msa(
        "evaluate", opinions, "-r", "echo", "-o", out, "replicates=200", "probes=[aspect_swap]"
    )
    assert ran.code == 0, ran.err
    assert "aspect_swap" in result(out).probes["echo"]
    rows = [json.loads(line) for line in (out / "probes.jsonl").read_text().splitlines()]
    assert all(r["probe"] == "aspect_swap" for r in rows)


def test_what_is_neither_suite_nor_posts_is_an_error(gen_msa):
    ran = gen_msa("evaluate", "nothing-of-the-kind")
    assert ran.code == 2
    assert "neither a file nor a dataset" in ran.err


def test_a_judge_marks_explanations_and_is_called_uncalibrated(gen_msa, opinions, tmp_path):
    read = tmp_path / "echoed.jsonl"
    assert gen_msa("explain", opinions, "-r", "echo", "-o", read).code == 0
    out = tmp_path / "out"
    judge = "judge={judge: echo, same_model: allow}"
    ran = gen_msa("evaluate", read, "-o", out, "replicates=200", judge)
    assert ran.code == 0, ran.err
    found = result(out).probes["echo"]["judge"]
    assert found["focus"].n > 0
    assert "uncalibrated" in found["focus"].note
    assert (out / "judgements.jsonl").read_text("utf-8").count("\n") >= found["focus"].n


def test_names_that_make_the_same_file_name_keep_their_answers_apart(gen_msa, opinions, tmp_path):
    names = ["x/y", "x y", "x_y", "[/b]", "n" * 300, "x_y.rejected"]
    readers = [{"name": n, "reader": f"file:{opinions}#{'ab'[i % 2]}"} for i, n in enumerate(names)]
    suite = tmp_path / "mine.yaml"
    suite.write_text(yaml.safe_dump({"data": str(opinions), "readers": readers}))
    ran = gen_msa("evaluate", suite, "-o", tmp_path / "out", "replicates=100")
    assert ran.code == 0, ran.err
    assert "[/b] reads" in ran.err
    found = result(tmp_path / "out").readers
    assert [r.figures["labels"]["accuracy"].value == 1.0 for r in found] == [True, False] * 3
    assert len(list((tmp_path / "out" / "readers").glob("*.jsonl"))) == len(names)


def test_a_file_is_named_as_it_is_and_not_as_yaml(gen_msa, opinions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opinions.rename(tmp_path / "a #1.jsonl")
    ran = gen_msa("evaluate", "a #1.jsonl", "-o", "out", "replicates=100")
    assert ran.code == 0, ran.err
    assert "'7' says nothing" in gen_msa("evaluate", "a #1.jsonl", "--against", "7").err


def test_nothing_is_read_or_written_where_the_run_cannot_end_well(gen_msa, opinions, tmp_path):
    for given in ("published=[nope]", "headline=[labels.f2]", "against=nobody"):
        ran = gen_msa("evaluate", opinions, "-r", "echo", "-o", tmp_path / "out", given)
        assert ran.code == 2, given
        assert "reads" not in ran.err
    assert not (tmp_path / "out").exists()
    assert "cannot be a folder" in gen_msa("evaluate", opinions, "-o", opinions).err


def test_a_reader_keeps_all_that_its_suite_says_of_it(gen_msa, opinions, tmp_path):
    suite = tmp_path / "mine.yaml"
    readers = [
        {"reader": "echo", "name": "full", "seeds": ["echo:1"]},
        {"reader": "echo", "name": "plain", "settings": {"prompt": "reader/plain"}},
        {"reader": "echo:2"},
    ]
    suite.write_text(yaml.safe_dump({"data": str(opinions), "readers": readers}))
    ran = gen_msa("evaluate", suite, "-r", "echo", "-o", tmp_path / "out", "replicates=100")
    assert ran.code == 0, ran.err
    names = [r.name for r in result(tmp_path / "out").readers]
    assert names == ["full", "full (2: echo:1)", "full, mean of 2 seeds", "plain"]


def test_answers_of_other_settings_are_not_used_again(gen_msa, opinions, tmp_path):
    suite, out = tmp_path / "mine.yaml", tmp_path / "out"
    seen = []
    for prompt in ("reader/full", "reader/plain", "reader/full"):
        reader = {"name": "echo", "reader": "echo", "settings": {"prompt": prompt}}
        suite.write_text(yaml.safe_dump({"data": str(opinions), "readers": [reader]}))
        assert gen_msa("evaluate", suite, "-o", out, "replicates=100").code == 0
        seen.append((out / "readers" / "echo.jsonl").read_text("utf-8"))
    assert seen[0] == seen[2] != seen[1]
