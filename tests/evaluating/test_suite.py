"""Suites: unknown keys are errors, names are unique, headlines are measured."""

import pytest
from pydantic import ValidationError

from gen_msa.errors import UserError
from gen_msa.evaluating import suite


def test_an_unknown_key_is_an_error_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'replicates'"):
        suite.load("twitter2015", ["replicate=200"])


def test_two_readers_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="two readers are called 'builtin'"):
        suite.Suite(data="x", readers=[{"reader": "builtin"}, {"reader": "builtin"}])


def test_a_headline_must_be_measured():
    with pytest.raises(ValidationError, match="'rouge' is not in metrics"):
        suite.Suite(data="x", headline=["rouge.rouge_l"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"metrics": ["lables"]}, "no metric named 'lables'; did you mean 'labels'"),
        ({"slices": ["aspect"]}, "no slice named 'aspect'; did you mean 'aspects'"),
        ({"probes": ["erase"]}, "no probe named 'erase'"),
    ],
)
def test_an_unknown_part_is_an_error_with_the_nearest(given, why):
    with pytest.raises(ValidationError, match=why):
        suite.Suite(data="x", **given)


@pytest.mark.parametrize("name", ["gold", "two\nlines", " "])
def test_a_name_that_would_mislead_is_refused(name):
    with pytest.raises(ValidationError, match="a reader cannot be called"):
        suite.Suite(data="x", readers=[{"reader": "echo", "name": name}])


def test_names_that_differ_in_case_alone_are_refused_as_their_files_may_be_one():
    with pytest.raises(ValidationError, match="two readers are called 'A'"):
        suite.Suite(data="x", readers=[{"reader": "echo", "name": n} for n in "Aa"])


@pytest.mark.parametrize("seeds", [["echo"], ["echo:1", "echo:1"]])
def test_a_seed_that_stands_twice_is_refused(seeds):
    with pytest.raises(ValidationError, match="stands twice among the seeds of 'echo'"):
        suite.Suite(data="x", readers=[{"reader": "echo", "seeds": seeds}])


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_suite_of_ones_own_may_end_in_yaml_or_yml(tmp_path, suffix):
    own = tmp_path / f"mine{suffix}"
    own.write_text("data: posts.jsonl", encoding="utf-8")
    assert suite.load(str(own)).data == "posts.jsonl"


def test_options_of_a_family_stand_beside_its_name():
    plan = suite.Suite(data="x", metrics=["labels", {"rouge": {"language": "zh"}}])
    assert plan.families() == {"labels": {}, "rouge": {"language": "zh"}}
