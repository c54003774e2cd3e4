"""Refused answers are learned at the weight of the gates that refused them, and only if asked."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from gen_msa.annotating import AnnotateSettings, annotate  # noqa: E402
from gen_msa.data import open_source  # noqa: E402
from gen_msa.distilling.recipe import Data, Recipe  # noqa: E402
from gen_msa.distilling.rows import gather  # noqa: E402
from gen_msa.errors import UserError  # noqa: E402
from tests.fixtures.tiny_students import example, write_examples  # noqa: E402

GATES = {"length": {"min_words": 8}, "naming": {}}


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """What `echo` says of some posts, sieved by two gates that refuse different answers."""
    folder = tmp_path_factory.mktemp("taught")
    path = folder / "posts.jsonl"
    write_examples(path, [example(i) for i in range(12)])
    settings = AnnotateSettings(reader="echo", gates=GATES, retries=0, max_bad=1.0)
    annotate(open_source(str(path)), folder / "teacher.jsonl", settings)
    return folder / "teacher.jsonl"


def learned(path, **data):
    one = Data(source=str(path), labels="echo", **data)
    return gather(one, Recipe(output_dir="out", data=(one,))).rows


def accepted(path):
    return [o for e in open_source(str(path)).rows() for o in e.said_by("echo")]


def answers(path):
    lines = path.with_suffix(".rejected.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(r, {k[7:] for k in r["opinion"]["how"] if k.startswith("failed.")}) for r in rows]


def test_each_refused_answer_weighs_the_product_of_its_gates(taught):
    weights = {"length": 0.5, "naming": 0.25}
    rows = learned(taught, gates=weights, weight=2.0)
    expected = [2.0] * len(accepted(taught))
    for _, gates in answers(taught):
        product = 2.0
        for gate in gates:
            product *= weights[gate]
        expected.append(product)
    assert len(set(expected)) > 2
    assert sorted(r.weight for r in rows) == sorted(expected)
    assert all(r.target for r in rows)


def test_a_gate_that_is_not_named_counts_nothing_and_without_gates_nothing_is_read(taught):
    passed = len(accepted(taught))
    assert len(learned(taught)) == passed
    rows = learned(taught, gates={"length": 0.5})
    alone = [gates for _, gates in answers(taught) if gates == {"length"}]
    assert 0 < len(alone) == len(rows) - passed < len(answers(taught))


def test_a_gate_that_refused_nothing_is_named_and_so_is_a_missing_file(taught, tmp_path):
    with pytest.raises(UserError, match="novelty refused no answer of echo; length, naming did"):
        learned(taught, gates={"novelty": 1.0})
    alone = tmp_path / "alone.jsonl"
    alone.write_bytes(taught.read_bytes())
    with pytest.raises(UserError, match=r"no refused answers at .*alone\.rejected\.jsonl"):
        learned(alone, gates={"length": 1.0})


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"post": "p0", "opinion": {"by": 7}}', b"\xff"])
def test_a_line_that_is_no_refused_answer_is_named(taught, tmp_path, line):
    copy = tmp_path / "teacher.jsonl"
    copy.write_bytes(taught.read_bytes())
    refused = taught.with_suffix(".rejected.jsonl").read_bytes()
    copy.with_suffix(".rejected.jsonl").write_bytes(refused + line + b"\n")
    with pytest.raises(UserError, match=r"teacher\.rejected\.jsonl:\d+ is no refused answer"):
        learned(copy, gates={"length": 1.0})


def test_an_accepted_answer_stands_before_a_refused_one(taught, tmp_path):
    row, _ = answers(taught)[0]
    whole = [json.loads(line) for line in taught.read_text("utf-8").splitlines()]
    for one in whole:
        if one["post"]["id"] == row["post"]:
            one["opinions"].append({**row["opinion"], "how": {}})
    copy = tmp_path / "teacher.jsonl"
    copy.write_text("".join(json.dumps(one) + "\n" for one in whole), "utf-8")
    copy.with_suffix(".rejected.jsonl").write_bytes(
        taught.with_suffix(".rejected.jsonl").read_bytes()
    )
    rows = learned(copy, gates={"length": 0.5, "naming": 0.5})
    passed = len(accepted(taught))
    assert len(rows) == passed + len(answers(taught))
    assert [r.weight for r in rows].count(1.0) == passed + 1
