"""Rejected answers are learned at the weight of the filters that rejected them, if requested."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from gen_msa.annotation import AnnotateSettings, annotate  # noqa: E402
from gen_msa.data import open_examples  # noqa: E402
from gen_msa.distillation.dataset import build_dataset  # noqa: E402
from gen_msa.distillation.recipe import DistillData, DistillRecipe  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from tests.fixtures.tiny_students import example, write_examples  # noqa: E402

FILTERS = {"length": {"min_words": 8}, "mentions_aspect": {}}


@pytest.fixture(scope="module")
def annotated_file(tmp_path_factory):
    """Answers of `echo` to some posts, split by two filters that reject different ones."""
    folder = tmp_path_factory.mktemp("taught")
    path = folder / "posts.jsonl"
    write_examples(path, [example(i) for i in range(12)])
    settings = AnnotateSettings(model="echo", filters=FILTERS, retries=0, max_error_rate=1.0)
    annotate(open_examples(str(path)), folder / "teacher.jsonl", settings)
    return folder / "teacher.jsonl"


def dataset_rows(path, **data):
    data_config = DistillData(source=str(path), labels="echo", **data)
    return build_dataset(data_config, DistillRecipe(output_dir="out", data=(data_config,))).rows


def accepted_opinions(path):
    return [o for e in open_examples(str(path)).rows() for o in e.opinions_by("echo")]


def rejected_answers(path):
    rejected_lines = path.with_suffix(".rejected.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in rejected_lines]
    return [
        (r, {key[7:] for key in r["opinion"]["provenance"] if key.startswith("failed.")})
        for r in rows
    ]


def test_rejected_answer_weight_is_the_product_of_its_filters(annotated_file):
    weights = {"length": 0.5, "mentions_aspect": 0.25}
    rows = dataset_rows(annotated_file, filters=weights, weight=2.0)
    expected = [2.0] * len(accepted_opinions(annotated_file))
    for _, failed_filters in rejected_answers(annotated_file):
        expected_weight = 2.0
        for filter_name in failed_filters:
            expected_weight *= weights[filter_name]
        expected.append(expected_weight)
    assert len(set(expected)) > 2
    assert sorted(r.weight for r in rows) == sorted(expected)
    assert all(r.target for r in rows)


def test_only_answers_of_named_filters_are_used(annotated_file):
    n_accepted = len(accepted_opinions(annotated_file))
    assert len(dataset_rows(annotated_file)) == n_accepted
    rows = dataset_rows(annotated_file, filters={"length": 0.5})
    single_filter = [
        failed_filters
        for _, failed_filters in rejected_answers(annotated_file)
        if failed_filters == {"length"}
    ]
    assert 0 < len(single_filter) == len(rows) - n_accepted < len(rejected_answers(annotated_file))


def test_unused_filter_and_missing_file_are_reported(annotated_file, tmp_path):
    with pytest.raises(
        UserError, match="near_duplicate rejected no answer of echo; length, mentions_aspect did"
    ):
        dataset_rows(annotated_file, filters={"near_duplicate": 1.0})
    copied_file = tmp_path / "alone.jsonl"
    copied_file.write_bytes(annotated_file.read_bytes())
    with pytest.raises(UserError, match=r"no rejected answers at .*alone\.rejected\.jsonl"):
        dataset_rows(copied_file, filters={"length": 1.0})


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b'{"post": "p0", "opinion": {"annotator": 7}}', b"\xff"]
)
def test_invalid_rejected_line_is_named(annotated_file, tmp_path, line):
    copied_file = tmp_path / "teacher.jsonl"
    copied_file.write_bytes(annotated_file.read_bytes())
    rejected_bytes = annotated_file.with_suffix(".rejected.jsonl").read_bytes()
    copied_file.with_suffix(".rejected.jsonl").write_bytes(rejected_bytes + line + b"\n")
    with pytest.raises(UserError, match=r"teacher\.rejected\.jsonl:\d+ is not a rejected answer"):
        dataset_rows(copied_file, filters={"length": 1.0})


def test_accepted_answer_takes_precedence_over_rejected(annotated_file, tmp_path):
    row, _ = rejected_answers(annotated_file)[0]
    rows_read = [json.loads(line) for line in annotated_file.read_text("utf-8").splitlines()]
    for row_read in rows_read:
        if row_read["post"]["id"] == row["post"]:
            row_read["opinions"].append({**row["opinion"], "provenance": {}})
    copied_file = tmp_path / "teacher.jsonl"
    copied_file.write_text("".join(json.dumps(row_read) + "\n" for row_read in rows_read), "utf-8")
    copied_file.with_suffix(".rejected.jsonl").write_bytes(
        annotated_file.with_suffix(".rejected.jsonl").read_bytes()
    )
    rows = dataset_rows(copied_file, filters={"length": 0.5, "mentions_aspect": 0.5})
    n_accepted = len(accepted_opinions(annotated_file))
    assert len(rows) == n_accepted + len(rejected_answers(annotated_file))
    assert [r.weight for r in rows].count(1.0) == n_accepted + 1
