"""Suites: unknown keys are errors, names are unique, headlines are measured."""

import pytest
from pydantic import ValidationError

from gen_msa.errors import UserError
from gen_msa.evaluation import suite


def test_load_suggests_the_nearest_key():
    with pytest.raises(UserError, match="did you mean 'replicates'"):
        suite.load("twitter2015", ["replicate=200"])


def test_suite_rejects_duplicate_model_names():
    with pytest.raises(ValidationError, match="two models are called 'builtin'"):
        suite.Suite(data="x", models=[{"model": "builtin"}, {"model": "builtin"}])


def test_suite_rejects_headline_not_in_metrics():
    with pytest.raises(ValidationError, match="'rouge' is not in metrics"):
        suite.Suite(data="x", headline=["rouge.rouge_l"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"metrics": ["lables"]}, "no metric named 'lables'; did you mean 'labels'"),
        ({"slices": ["aspect"]}, "no slice named 'aspect'; did you mean 'aspects'"),
        ({"probes": ["erase"]}, "no probe named 'erase'"),
    ],
)
def test_suite_suggests_the_nearest_part(overrides, message):
    with pytest.raises(ValidationError, match=message):
        suite.Suite(data="x", **overrides)


@pytest.mark.parametrize("name", ["gold", "two\nlines", " "])
def test_suite_rejects_misleading_model_names(name):
    with pytest.raises(ValidationError, match="a model cannot be called"):
        suite.Suite(data="x", models=[{"model": "echo", "name": name}])


def test_suite_rejects_names_differing_only_in_case():
    with pytest.raises(ValidationError, match="two models are called 'A'"):
        suite.Suite(data="x", models=[{"model": "echo", "name": n} for n in "Aa"])


@pytest.mark.parametrize("seeds", [["echo"], ["echo:1", "echo:1"]])
def test_suite_rejects_duplicate_seeds(seeds):
    with pytest.raises(ValidationError, match="occurs twice among the seeds of 'echo'"):
        suite.Suite(data="x", models=[{"model": "echo", "seeds": seeds}])


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_load_accepts_yaml_and_yml_files(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    path.write_text("data: posts.jsonl", encoding="utf-8")
    assert suite.load(str(path)).data == "posts.jsonl"


def test_suite_reads_metric_options():
    loaded = suite.Suite(data="x", metrics=["labels", {"rouge": {"language": "zh"}}])
    assert loaded.metric_options() == {"labels": {}, "rouge": {"language": "zh"}}
