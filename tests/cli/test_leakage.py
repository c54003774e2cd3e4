"""`gen-msa leakage`: its table, its JSON and its exit code."""

import pytest

from gen_msa.evaluating.leakage import Leakage
from gen_msa.types import Post
from tests.fixtures.posts import write_posts


def post(name, text):
    return Post(id=name, text=text)


@pytest.fixture
def splits(tmp_path):
    train = write_posts(tmp_path / "train.jsonl", [post("1", "Lovely soup at the old mill today")])
    dev = write_posts(
        tmp_path / "dev.jsonl",
        [
            post("2", "LOVELY soup  at the old mill today"),
            post("3", "Nothing like it here \x1b[2J"),
        ],
    )
    return train, dev


def test_shared_posts_are_listed_and_end_with_code_3(gen_msa, splits):
    ran = gen_msa("leakage", *splits)
    assert ran.code == 3
    assert "text: 1" in ran.out
    assert "lovely soup" in ran.out
    assert "1 posts are in an earlier split too; 0 allowed" in ran.err


def test_allow_lets_as_many_pass(gen_msa, splits):
    assert gen_msa("leakage", *splits, "--allow", 1).code == 0


def test_everything_is_written_as_json(gen_msa, splits, tmp_path):
    out = tmp_path / "leakage.json"
    assert gen_msa("leakage", *splits, "-o", out, "--allow", 9).code == 0
    found = Leakage.model_validate_json(out.read_bytes())
    assert [t.second_post for t in found.twins] == ["2"]


def test_clean_splits_end_with_code_0(gen_msa, splits, tmp_path):
    other = write_posts(tmp_path / "other.jsonl", [post("9", "Quite another thing altogether")])
    ran = gen_msa("leakage", splits[0], other)
    assert ran.code == 0
    assert "0 posts" in ran.err


def test_a_threshold_out_of_range_is_an_error(gen_msa, splits):
    ran = gen_msa("leakage", *splits, "--near-text", 2)
    assert ran.code == 2
    assert "near_text" in ran.err
