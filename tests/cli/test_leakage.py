"""`gen-msa leakage`: its table, its JSON and its exit code."""

import pytest

from gen_msa.evaluation.leakage import LeakageReport
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


def test_shared_posts_are_listed_and_exit_with_3(gen_msa, splits):
    completed = gen_msa("leakage", *splits)
    assert completed.code == 3
    assert "text: 1" in completed.out
    assert "lovely soup" in completed.out
    assert "1 post also in an earlier split; 0 allowed" in completed.err


def test_allow_tolerates_that_many_posts(gen_msa, splits):
    assert gen_msa("leakage", *splits, "--allow", 1).code == 0


def test_leakage_report_is_written_as_json(gen_msa, splits, tmp_path):
    out = tmp_path / "leakage.json"
    assert gen_msa("leakage", *splits, "-o", out, "--allow", 9).code == 0
    report = LeakageReport.model_validate_json(out.read_bytes())
    assert [t.later_post for t in report.duplicates] == ["2"]


def test_clean_splits_exit_with_0(gen_msa, splits, tmp_path):
    other_split = write_posts(
        tmp_path / "other.jsonl", [post("9", "Quite another thing altogether")]
    )
    completed = gen_msa("leakage", splits[0], other_split)
    assert completed.code == 0
    assert "0 posts also" in completed.err


def test_out_of_range_threshold_is_an_error(gen_msa, splits):
    completed = gen_msa("leakage", *splits, "--near-text", 2)
    assert completed.code == 2
    assert "near_text" in completed.err
