"""The ONNX graph of a student gives its answers, for any number and length of rows."""

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
from gen_msa.models import AspectExample  # noqa: E402
from gen_msa.models.inference import onnx_runtime, serialization  # noqa: E402
from gen_msa.models.inference.predict import predict_probabilities  # noqa: E402
from gen_msa.models.inputs.collator import ArrayCollator  # noqa: E402
from gen_msa.models.onnx_export import compare_outputs, export_student, probe_rows  # noqa: E402
from gen_msa.types import OVERALL_ASPECT, Aspect  # noqa: E402
from tests.fixtures.tiny_students import (  # noqa: E402
    WIDTH,
    feature_widths,
    make_collator,
    make_student,
    rows,
    tokenizer_json,
    with_features,
)

MAX_LENGTH = 48
"""Tokens; a tiny student has no more positions."""


def save_tiny_student(folder, name="text"):
    torch.manual_seed(0)
    model = make_student(name)
    with manifest.atomic_directory(folder) as staging:
        collator = make_collator(widths=feature_widths(name), max_length=MAX_LENGTH)
        serialization.save_student(staging, model, collator, text="post", name=name)
    return folder


@pytest.fixture(scope="module")
def student_root(tmp_path_factory):
    """Return a folder with a student and its graphs: `s`, `onnx`, `int8`."""
    folder = tmp_path_factory.mktemp("students")
    save_tiny_student(folder / "s")
    export_student(folder / "s", folder / "onnx")
    export_student(folder / "s", folder / "int8", int8=True)
    return folder


ROWS = [
    *rows(5),
    AspectExample("empty", "", OVERALL_ASPECT),
    AspectExample("long", "the soup was good " * 40, Aspect(term="soup", start=4)),
]


def test_graph_matches_the_student(student_root):
    loaded, graph = (
        serialization.load_student(student_root / "s"),
        onnx_runtime.load_onnx_student(student_root / "onnx"),
    )
    torch_probs = torch.tensor(predict_probabilities(loaded.student, loaded.collator, ROWS))
    for batch_size in (1, 3, 64):
        onnx_probs = torch.tensor(graph.predict_probabilities(ROWS, batch_size=batch_size))
        assert torch.allclose(torch_probs, onnx_probs, atol=1e-5)
    assert graph.metadata.max_logit_diff <= 1e-4
    assert (graph.metadata.agreement, graph.metadata.lengths) == (1.0, (3, MAX_LENGTH))
    assert graph.metadata.student_revision == loaded.revision
    assert {1, 2, 7} <= set(graph.metadata.batches)


def test_int8_graph_is_close_and_independent_of_batching(student_root):
    full_graph, int8_graph = (
        onnx_runtime.load_onnx_student(student_root / n) for n in ("onnx", "int8")
    )
    assert int8_graph.metadata.max_probability_diff == pytest.approx(0, abs=0.05)
    assert int8_graph.metadata.max_logit_diff > 1e-4 >= full_graph.metadata.max_logit_diff
    assert "int8" in (student_root / "int8" / "README.md").read_text("utf-8")
    single_row_probs = [int8_graph.predict_probabilities([r])[0] for r in ROWS]
    assert int8_graph.predict_probabilities(ROWS, batch_size=64) == single_row_probs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_image", "mmslf", "self_mm"])
def test_models_of_other_modalities_are_exported(name, tmp_path):
    metadata = export_student(save_tiny_student(tmp_path / "s", name), tmp_path / "onnx")
    loaded, graph = (
        serialization.load_student(tmp_path / "s"),
        onnx_runtime.load_onnx_student(tmp_path / "onnx"),
    )
    rows_ = [*with_features(rows(4)), *rows(2)]
    torch_probs = torch.tensor(predict_probabilities(loaded.student, loaded.collator, rows_))
    assert torch.allclose(torch_probs, torch.tensor(graph.predict_probabilities(rows_)), atol=1e-5)
    assert metadata.max_logit_diff <= 1e-4
    rows_without_inputs = [replace(r, inputs={}) for r in rows_]
    assert graph.predict_probabilities(rows_) != graph.predict_probabilities(rows_without_inputs)


def test_compare_detects_another_student(student_root, tmp_path):
    graph = onnx_runtime.load_onnx_student(student_root / "onnx")
    torch.manual_seed(1)
    with manifest.atomic_directory(tmp_path / "other") as staging:
        serialization.save_student(
            staging, make_student(), make_collator(max_length=MAX_LENGTH), text="post", name="text"
        )
    other = serialization.load_student(tmp_path / "other")
    assert compare_outputs(other, graph, probe_rows(other.config)).max_logit_diff > 1e-2


text_strategy = st.text(
    st.sampled_from("soup great [SEP]é\n.") | st.characters(codec="utf-8"), max_size=80
)


@given(st.lists(st.tuples(text_strategy, text_strategy), min_size=1, max_size=4), st.booleans())
def test_array_collator_equals_tensor_collator(pairs, joined):
    options = {
        "max_length": 20,
        "mask_labels": True,
        "widths": {"image": WIDTH, "context": 9},
        "append_context": joined,
    }
    rows_ = with_features(
        [AspectExample(str(i), t, Aspect(term=a)) for i, (t, a) in enumerate(pairs)]
    )
    rows_ = [replace(r, inputs={}) if i % 2 else r for i, r in enumerate(rows_)]
    collator, array_collator = make_collator(**options), ArrayCollator(tokenizer_json(), **options)
    batch, arrays = collator(rows_), array_collator.collate(rows_)
    for array_group, tensor_group in (
        (arrays.inputs, batch.inputs),
        (arrays.mask, batch.mask),
        (arrays.present, batch.present),
    ):
        assert set(array_group) == set(tensor_group)
        for name in array_group:
            assert numpy.array_equal(array_group[name], tensor_group[name].numpy())
            assert array_group[name].dtype == tensor_group[name].numpy().dtype
    assert [array_collator.is_truncated(r) for r in rows_] == [
        collator.is_truncated(r) for r in rows_
    ]


@pytest.mark.parametrize("file", ["model.onnx", "onnx.json", "student.json", "tokenizer.json"])
def test_changed_byte_is_rejected(student_root, file):
    path = student_root / "onnx" / file
    before = path.read_bytes()
    data = bytearray(before)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    try:
        with pytest.raises(UserError, match=f"{file} was altered"):
            onnx_runtime.load_onnx_student(student_root / "onnx")
    finally:
        path.write_bytes(before)


def copy_and_reseal(student_root, tmp_path, change):
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in (student_root / "onnx").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    change(folder)
    manifest.seal(folder)
    return folder


def _rename_inputs(folder):
    import onnx

    graph = onnx.load(folder / "model.onnx")
    graph.graph.input[0].name = "pixels"
    for node in graph.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = "pixels" if name == "inputs_text" else name
    onnx.save(graph, folder / "model.onnx")


def _use_external_data(folder):
    """Refer to weights in a file outside the folder."""
    import onnx

    graph = onnx.load(folder / "model.onnx")
    weight = max(graph.graph.initializer, key=lambda w: len(w.raw_data))
    (folder.parent / "secret").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    (folder / "model.onnx").write_bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"no graph"), "is not a readable ONNX graph"),
        (lambda f: (f / "model.onnx").unlink(), "is not a readable ONNX graph"),
        (_rename_inputs, "the graph of another model"),
        (_use_external_data, "is not a readable ONNX graph"),
        (lambda f: (f / "onnx.json").write_text("{}"), "has no exported student"),
        (lambda f: (f / "student.json").unlink(), "has no student"),
    ],
)
def test_invalid_folder_is_rejected_even_if_sealed(student_root, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        onnx_runtime.load_onnx_student(copy_and_reseal(student_root, tmp_path, change))


def test_other_classes_are_rejected(student_root, tmp_path):
    def change(folder):
        student_json = json.loads((folder / "student.json").read_bytes())
        (folder / "student.json").write_text(
            json.dumps({**student_json, "classes": ["bad", "good"]})
        )

    with pytest.raises(UserError, match="its classes are bad, good"):
        onnx_runtime.load_onnx_student(copy_and_reseal(student_root, tmp_path, change))


def test_missing_onnxruntime_names_the_extra(student_root, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"gen-msa\[onnx\]"):
        onnx_runtime.load_onnx_student(student_root / "onnx")


def test_invalid_source_or_foreign_target_is_rejected(student_root, tmp_path):
    with pytest.raises(UserError, match="is an export already"):
        export_student(student_root / "onnx", tmp_path / "x")
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="exists and is not an export"):
        export_student(student_root / "s", tmp_path / "mine")
    with pytest.raises(UserError, match="it is a teacher"):
        export_student(save_tiny_student(tmp_path / "t", "mmslf_teacher"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_model_with_nan_logits_is_not_exported(tmp_path):
    model = make_student()
    model.head.bias.data[0] = float("nan")
    with manifest.atomic_directory(tmp_path / "s") as staging:
        serialization.save_student(
            staging, model, make_collator(max_length=MAX_LENGTH), text="post", name="text"
        )
    with pytest.raises(UserError, match="does not give the student's answers"):
        export_student(tmp_path / "s", tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_graph_is_loaded_without_torch(student_root):
    code = """
import sys
from pathlib import Path
from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import Aspect, Post
post = Post(id="1", text="The soup was great", aspects=(Aspect(term="soup", start=4),))
(prediction,) = make(PredictorSettings(model="student:" + sys.argv[1]), Path()).predict([post])
assert prediction.opinions[0].explanation
print([m for m in ("torch", "transformers", "onnx", "spacy") if m in sys.modules])
"""
    process = subprocess.run(
        [sys.executable, "-c", code, str(student_root / "onnx")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == "[]"
