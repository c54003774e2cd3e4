"""`gen-msa evaluate … cost.posts=N`: what reading costs, beside the figures of that reader."""

import csv

import pytest
import yaml

from gen_msa.cli._asking import Asking
from gen_msa.data import open_source
from gen_msa.evaluating.suite import Entry, Suite
from gen_msa.ledger import key
from gen_msa.readers import make
from gen_msa.report.evaluation.words import amount
from gen_msa.results import Result
from tests.evaluating.phones import example, save
from tests.report.making import Seen

LABELS = ["positive", "neutral", "negative"]


@pytest.fixture
def posts(tmp_path):
    return save(tmp_path / "posts.jsonl", [example(i, LABELS[i % 3]) for i in range(9)])


@pytest.fixture
def student(tmp_path):
    """A sealed folder with a tiny untrained student."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from gen_msa import manifest
    from gen_msa.students.common import keeping
    from tests.fixtures import tiny_students

    with manifest.staged(tmp_path / "s") as draft:
        made, words = tiny_students.student(), tiny_students.words()
        keeping.write(draft, made, words, text="post", name="text")
    return tmp_path / "s"


def result(folder):
    return Result.model_validate_json((folder / "results.json").read_text("utf-8"))


def test_costs_stand_beside_the_figures_of_the_same_reader(gen_msa, posts, tmp_path):
    out = tmp_path / "out"
    ran = gen_msa(
        "evaluate", posts, "-r", "echo", "-r", f"majority:{posts}", "-o", out,
        "replicates=100", "cost.posts=4",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    echo, majority = result(out).readers
    assert echo.costing.reader_sha256 == key(echo.facts)
    assert (echo.costing.posts, echo.costing.laps) == (4, 5)
    assert majority.costing.note == "recorded: no cost of its own"
    rate = echo.costing.figures["posts_per_second"]
    assert 0 < rate.low <= rate.value <= rate.high
    seen = Seen((out / "report.html").read_text("utf-8"))
    assert len(seen.of("spot")) == 1
    for name, value in echo.costing.figures.items():
        if value.value is not None:
            assert amount(value.value) in seen.text("costs"), name
    assert "recorded: no cost of its own" in ran.out.replace("\n", " ")
    assert "frontier" in (out / "figures.md").read_text("utf-8")
    with (out / "figures.csv").open(encoding="utf-8-sig", newline="") as f:
        (row,) = (r for r in csv.DictReader(f) if r["figure"] == "posts_per_second")
    assert float(row["value"]) == rate.value


def test_cost_is_off_until_it_is_asked_for_and_needs_readers(gen_msa, posts, tmp_path):
    assert (
        gen_msa("evaluate", posts, "-r", "echo", "-o", tmp_path / "o", "replicates=100").code == 0
    )
    assert result(tmp_path / "o").readers[0].costing is None
    said = save(tmp_path / "said.jsonl", [example(0, "neutral", a="neutral")])
    ran = gen_msa("evaluate", said, "cost.posts=1", "-o", tmp_path / "p")
    assert ran.code == 2
    assert "costs have posts read again" in ran.err


def test_a_student_with_reasons_and_without_stand_in_one_table(gen_msa, posts, student, tmp_path):
    readers = [
        {"name": "student", "reader": f"student:{student}"},
        {"name": "labels", "reader": f"student:{student}", "settings": {"reasons": False}},
    ]
    suite = tmp_path / "mine.yaml"
    tree = {"data": str(posts), "readers": readers, "replicates": 100, "cost": {"posts": 9}}
    suite.write_text(yaml.safe_dump(tree))
    ran = gen_msa("evaluate", suite, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    full, labels = result(tmp_path / "out").readers
    assert full.figures["labels"] == labels.figures["labels"]
    assert full.costing.reader_sha256 != labels.costing.reader_sha256
    cpu = [r.costing.figures["cpu_seconds"].low for r in (full, labels)]
    assert cpu[0] > 1.5 * cpu[1], "reasons are many further readings"
    sizes = [r.costing.figures["megabytes"].value for r in (full, labels)]
    assert sizes[0] == sizes[1] > 0.01


def test_changed_posts_are_read_by_a_student_without_its_reasons(posts, student, tmp_path):
    entry = Entry(reader=f"student:{student}")
    plan = Suite(data=str(posts), readers=(entry,))
    asking = Asking(plan, open_source(str(posts)), tmp_path, console=None)
    some = [example(i, "neutral").post for i in range(3)]
    settings = asking.of_changed(entry)
    (plain,) = make(settings, tmp_path).read(some[:1])[0].opinions
    (told,) = (
        make(asking._job(entry, entry.reader).of_reader(), tmp_path).read(some[:1])[0].opinions
    )
    assert told.explanation
    assert (plain.explanation, plain.evidence) == (None, ())
    assert (plain.polarity, plain.probs) == (told.polarity, told.probs)
    assert asking.of_changed(Entry(reader="echo")).reasons
