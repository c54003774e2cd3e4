"""A student as one ONNX graph answers as the student does, for rows of any number and length."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
for package in ("onnxruntime", "onnx", "onnxscript"):
    pytest.importorskip(package, reason=f"{package} is not installed (extra onnx)")

import numpy  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gen_msa import manifest  # noqa: E402
from gen_msa.errors import MissingExtra, UserError  # noqa: E402
from gen_msa.students import Row  # noqa: E402
from gen_msa.students.common import graphs, keeping  # noqa: E402
from gen_msa.students.common.arrays import Arranger  # noqa: E402
from gen_msa.students.common.reading import probabilities  # noqa: E402
from gen_msa.students.exporting.comparing import compare, probe_rows  # noqa: E402
from gen_msa.students.exporting.writing import export  # noqa: E402
from gen_msa.types import WHOLE_POST, Aspect  # noqa: E402
from tests.fixtures.tiny_students import WIDTH, rows, shown, student, tokenizer, widths, words  # noqa: E402

SHORT = 48
"""Tokens; a tiny student has no more places."""


def kept(folder, name="text"):
    torch.manual_seed(0)
    made = student(name)
    with manifest.staged(folder) as draft:
        collate = words(widths=widths(name), max_length=SHORT)
        keeping.write(draft, made, collate, text="post", name=name)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a student, its graph and its graph in 8 bits: `s`, `onnx`, `int8`."""
    home = tmp_path_factory.mktemp("students")
    kept(home / "s")
    export(home / "s", home / "onnx")
    export(home / "s", home / "int8", int8=True)
    return home


SOME = [
    *rows(5),
    Row("empty", "", WHOLE_POST),
    Row("long", "the soup was good " * 40, Aspect(term="soup", start=4)),
]


def test_the_graph_says_what_the_student_says(home):
    opened, graph = keeping.open_student(home / "s"), graphs.open_graph(home / "onnx")
    ours = torch.tensor(probabilities(opened.student, opened.collate, SOME))
    for together in (1, 3, 64):
        read = torch.tensor(graph.probabilities(SOME, together=together))
        assert torch.allclose(ours, read, atol=1e-5)
    assert graph.facts.logits_off <= 1e-4
    assert (graph.facts.agreement, graph.facts.lengths) == (1.0, (3, SHORT))
    assert graph.facts.student_revision == opened.revision
    assert {1, 2, 7} <= set(graph.facts.batches)


def test_eight_bits_are_near_smaller_and_untouched_by_neighbours(home):
    whole, small = (graphs.open_graph(home / n) for n in ("onnx", "int8"))
    assert small.facts.probability_off == pytest.approx(0, abs=0.05)
    assert small.facts.logits_off > 1e-4 >= whole.facts.logits_off
    assert "int8" in (home / "int8" / "README.md").read_text("utf-8")
    alone = [small.probabilities([r])[0] for r in SOME]
    assert small.probabilities(SOME, together=64) == alone


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_picture", "mmslf", "self_mm"])
def test_students_of_other_modalities_have_a_graph_too(name, tmp_path):
    facts = export(kept(tmp_path / "s", name), tmp_path / "onnx")
    opened, graph = keeping.open_student(tmp_path / "s"), graphs.open_graph(tmp_path / "onnx")
    some = [*shown(rows(4)), *rows(2)]
    ours = torch.tensor(probabilities(opened.student, opened.collate, some))
    assert torch.allclose(ours, torch.tensor(graph.probabilities(some)), atol=1e-5)
    assert facts.logits_off <= 1e-4
    without = [replace(r, inputs={}) for r in some]
    assert graph.probabilities(some) != graph.probabilities(without)


def test_a_graph_of_another_student_is_seen_to_be_one(home, tmp_path):
    graph = graphs.open_graph(home / "onnx")
    torch.manual_seed(1)
    with manifest.staged(tmp_path / "other") as draft:
        keeping.write(draft, student(), words(max_length=SHORT), text="post", name="text")
    other = keeping.open_student(tmp_path / "other")
    assert compare(other, graph, probe_rows(other.kept)).logits_off > 1e-2


texts = st.text(st.sampled_from("soup great [SEP]é\n.") | st.characters(codec="utf-8"), max_size=80)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4), st.booleans())
def test_arrays_are_what_tensors_are_made_of(pairs, joined):
    options = {
        "max_length": 20,
        "mask_labels": True,
        "widths": {"picture": WIDTH, "context": 9},
        "joined": joined,
    }
    some = shown([Row(str(i), t, Aspect(term=a)) for i, (t, a) in enumerate(pairs)])
    some = [replace(r, inputs={}) if i % 2 else r for i, r in enumerate(some)]
    collate, arranger = words(**options), Arranger(tokenizer(), **options)
    batch, arrays = collate(some), arranger.arrays(some)
    for ours, theirs in (
        (arrays.x, batch.x),
        (arrays.mask, batch.mask),
        (arrays.present, batch.present),
    ):
        assert set(ours) == set(theirs)
        for name in ours:
            assert numpy.array_equal(ours[name], theirs[name].numpy())
            assert ours[name].dtype == theirs[name].numpy().dtype
    assert [arranger.cut(r) for r in some] == [collate.cut(r) for r in some]


@pytest.mark.parametrize("file", ["model.onnx", "onnx.json", "student.json", "tokenizer.json"])
def test_a_changed_byte_is_refused(home, file):
    path = home / "onnx" / file
    before = path.read_bytes()
    data = bytearray(before)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    try:
        with pytest.raises(UserError, match=f"{file} was altered"):
            graphs.open_graph(home / "onnx")
    finally:
        path.write_bytes(before)


def resealed(home, tmp_path, change):
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in (home / "onnx").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    change(folder)
    manifest.seal(folder)
    return folder


def _other_names(folder):
    import onnx

    graph = onnx.load(folder / "model.onnx")
    graph.graph.input[0].name = "pixels"
    for node in graph.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = "pixels" if name == "x_text" else name
    onnx.save(graph, folder / "model.onnx")


def _outside(folder):
    """Weights that are said to lie in a file beside the folder."""
    import onnx

    graph = onnx.load(folder / "model.onnx")
    weight = max(graph.graph.initializer, key=lambda w: len(w.raw_data))
    (folder.parent / "secret").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    (folder / "model.onnx").write_bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"no graph"), "cannot be opened as a graph"),
        (lambda f: (f / "model.onnx").unlink(), "cannot be opened as a graph"),
        (_other_names, "the graph of something else"),
        (_outside, "cannot be opened as a graph"),
        (lambda f: (f / "onnx.json").write_text("{}"), "holds no exported student"),
        (lambda f: (f / "student.json").unlink(), "holds no student"),
    ],
)
def test_a_folder_of_another_making_is_refused_even_if_sealed(home, tmp_path, change, why):
    with pytest.raises(UserError, match=why):
        graphs.open_graph(resealed(home, tmp_path, change))


def test_other_classes_are_refused(home, tmp_path):
    def change(folder):
        told = json.loads((folder / "student.json").read_bytes())
        (folder / "student.json").write_text(json.dumps({**told, "classes": ["bad", "good"]}))

    with pytest.raises(UserError, match="its classes are bad, good"):
        graphs.open_graph(resealed(home, tmp_path, change))


def test_without_onnxruntime_the_extra_is_named(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"gen-msa\[onnx\]"):
        graphs.open_graph(home / "onnx")


def test_what_is_no_student_or_somebody_elses_is_not_written_over(home, tmp_path):
    with pytest.raises(UserError, match="is exported already"):
        export(home / "onnx", tmp_path / "x")
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="was not made by export"):
        export(home / "s", tmp_path / "mine")
    with pytest.raises(UserError, match="it is a teacher"):
        export(kept(tmp_path / "t", "mmslf_teacher"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_student_whose_logits_are_no_numbers_is_not_exported(tmp_path):
    made = student()
    made.head.bias.data[0] = float("nan")
    with manifest.staged(tmp_path / "s") as draft:
        keeping.write(draft, made, words(max_length=SHORT), text="post", name="text")
    with pytest.raises(UserError, match="does not answer as the student does"):
        export(tmp_path / "s", tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_graph_is_read_without_torch(home):
    code = """
import sys
from pathlib import Path
from gen_msa.readers import ReaderSettings, make
from gen_msa.types import Aspect, Post
post = Post(id="1", text="The soup was great", aspects=(Aspect(term="soup", start=4),))
(reading,) = make(ReaderSettings(reader="student:" + sys.argv[1]), Path()).read([post])
assert reading.opinions[0].explanation
print([m for m in ("torch", "transformers", "onnx", "spacy") if m in sys.modules])
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(home / "onnx")], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
