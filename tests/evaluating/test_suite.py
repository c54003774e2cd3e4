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


def test_options_of_a_family_stand_beside_its_name():
    plan = suite.Suite(data="x", metrics=["labels", {"rouge": {"language": "zh"}}])
    assert plan.families() == {"labels": {}, "rouge": {"language": "zh"}}
