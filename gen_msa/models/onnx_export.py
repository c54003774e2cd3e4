"""Export a trained student as one ONNX graph that gives the same answers.

Imported only for the export; prediction needs `models.inference.onnx_runtime` alone.

    gen-msa export students/text/student --onnx --int8
"""

import contextlib
import io
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch

from gen_msa import jsonl, manifest
from gen_msa.errors import MissingExtra, UserError, write_errors
from gen_msa.models.base import AspectExample, Batch, Model
from gen_msa.models.inference import onnx_runtime
from gen_msa.models.inference.onnx_runtime import OnnxStudent, softmax
from gen_msa.models.inference.serialization import LoadedStudent, StudentConfig, load_student
from gen_msa.types import OVERALL_ASPECT, Aspect

# Trace the forward pass of a student as an ONNX graph, and quantize its matrices to int8.

OPSET = 18


def export_graph(student: Model, batch: Batch, path: Path) -> None:
    """Write the graph of a student.

    Inputs are named `inputs_MODALITY`, `mask_MODALITY`, `mask_aspect` and `present_MODALITY`; the
    only output is `logits`.

    Args:
        student: Model in evaluation mode.
        batch: Example with two rows or more.
        path: ONNX file to write.

    Raises:
        UserError: The student cannot be traced.
    """
    tensors = graph_inputs(batch)
    dynamic = torch.export.Dim.DYNAMIC
    sizes = tuple(
        {0: dynamic} if t.ndim == 1 else {0: dynamic, 1: dynamic} for t in tensors.values()
    )
    try:
        with _quiet():
            program = torch.onnx.export(
                _FlatInputs(student, tuple(tensors)).eval(),
                tuple(tensors.values()),
                dynamo=True,
                input_names=list(tensors),
                output_names=["logits"],
                dynamic_shapes=(sizes,),
                opset_version=OPSET,
            )
            program.save(path)
    except torch.onnx.OnnxExporterError as e:
        message = str(e.__cause__ or e).strip().splitlines()[0]
        raise UserError(f"this student cannot be exported to ONNX: {message}") from None
    _drop_value_info(path)


def quantize_int8(source: Path, target: Path) -> None:
    """Quantize matrices to int8, with activations scaled at run time (dynamic quantization).

    Weights have a scale per output channel and use 7 of 8 bits, so that no sum overflows on a
    processor without VNNI: the graph gives the same answers everywhere.

    Args:
        source: ONNX file in float32.
        target: ONNX file to write.
    """
    quantization = import_module("onnxruntime.quantization")
    with _quiet():
        quantization.quantize_dynamic(
            source,
            target,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


def graph_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """Return the tensors of a batch by the names of the graph's inputs."""
    tensors = {f"inputs_{k}": v for k, v in batch.inputs.items()}
    tensors |= {f"mask_{k}": v for k, v in batch.mask.items()}
    return tensors | {f"present_{k}": v for k, v in batch.present.items()}


class _FlatInputs(torch.nn.Module):  # type: ignore[misc]
    """Module that takes the tensors of a batch as separate arguments."""

    def __init__(self, student: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.student = student
        self._names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return logits, (rows, classes)."""
        batch_fields: dict[str, dict[str, torch.Tensor]] = {"inputs": {}, "mask": {}, "present": {}}
        for name, tensor in zip(self._names, tensors, strict=True):
            kind, _, modality = name.partition("_")
            batch_fields[kind][modality] = tensor
        batch = Batch(ids=(), **batch_fields, target=None, texts=())
        logits: torch.Tensor = self.student(batch).logits
        return logits


def _drop_value_info(path: Path) -> None:
    """Remove the recorded shapes of intermediate tensors.

    They precede the exporter's last rewriting, which transposes some tensors; the quantizer infers
    them correctly itself.
    """
    import onnx

    graph = onnx.load(path)
    graph.graph.ClearField("value_info")
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


@contextlib.contextmanager
def _quiet() -> Any:
    """Silence the exporter's progress and warnings; its result is verified anyway."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


# Export a student's folder to the folder of an ONNX graph, and verify the graph.

BATCH_SIZES = (1, 2, 7, 16)
"""Batch sizes of the comparison, used in turn."""
MAX_LOGIT_DIFF = 1e-4
"""Largest difference of a logit in float32."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_REQUIRED_FILES = ("student.json", "tokenizer.json")
_OPTIONAL_FILES = ("metrics.json", "recipe.yaml")
_TEXTS = (
    "The soup was good but the waiter so slow",
    "Great screen, awful battery, and not a word about the keyboard in the whole review!",
    "ok",
    "",
    "We waited for an hour, and then the train was full; still, the view made up for it, sort of",
)


class GraphComparison(NamedTuple):
    """Differences between a graph and its student."""

    lengths: tuple[int, int]
    batches: tuple[int, ...]
    max_logit_diff: float
    """NaN where one of the two gave a value that is not finite."""
    max_probability_diff: float
    agreement: float


def probe_rows(
    config: StudentConfig, user_rows: Sequence[AspectExample] = ()
) -> list[AspectExample]:
    """Return rows for the comparison: the user's and texts of many lengths.

    Args:
        config: Configuration of the student.
        user_rows: Further rows.
    """
    aspects = [Aspect(term="soup", start=4), Aspect(term="the battery"), OVERALL_ASPECT]
    texts = [*_TEXTS, *(" ".join([*_TEXTS] * n) for n in (2, 4, 40))]
    rows = [
        AspectExample(
            f"probe/{i}/{k}", text, aspect if aspect.start is None or i == 0 else aspects[1]
        )
        for i, text in enumerate(texts)
        for k, aspect in enumerate(aspects)
    ]
    rows = [*user_rows, *rows]
    widths = {m: w for m, w in config.width.items() if m not in ("text", "context")}
    generator = torch.Generator().manual_seed(0)
    for i, row in enumerate(rows):
        features = {
            m: torch.randn(1 + i % 16, w, generator=generator) for m, w in widths.items() if i % 3
        }
        context = row.context or (row.text if config.cues else "")
        rows[i] = replace(row, inputs=row.inputs or features, context=context)
    return rows


def compare_outputs(
    loaded: LoadedStudent, graph: OnnxStudent, rows: Sequence[AspectExample]
) -> GraphComparison:
    """Compare the logits of a student and its graph; an int8 graph gets one row at a time.

    Args:
        loaded: The student.
        graph: Its graph.
        rows: Rows to classify.

    Returns:
        Largest absolute differences of logits and probabilities, and the share of rows with the
        same most probable class.
    """
    sizes: list[int] = []
    student_logits, graph_logits = [], []
    for batch in _batches(rows):
        sizes.append(len(batch))
        with torch.no_grad():
            student_logits.append(loaded.student(loaded.collator(batch)).logits.numpy())
        one_by_one = graph.metadata.precision == "int8"
        graph_logits += [graph.logits([r]) for r in batch] if one_by_one else [graph.logits(batch)]
    expected, actual = numpy.concatenate(student_logits), numpy.concatenate(graph_logits)
    expected_probs, actual_probs = softmax(expected), softmax(actual)
    lengths = [loaded.collator.length(r) for r in rows]
    return GraphComparison(
        lengths=(min(lengths), max(lengths)),
        batches=tuple(sorted(set(sizes))),
        max_logit_diff=float(numpy.abs(expected - actual).max()),
        max_probability_diff=float(numpy.abs(expected_probs - actual_probs).max()),
        agreement=float((expected_probs.argmax(1) == actual_probs.argmax(1)).mean()),
    )


def _batches(rows: Sequence[AspectExample]) -> Iterator[Sequence[AspectExample]]:
    start = batch_index = 0
    while start < len(rows):
        size = BATCH_SIZES[batch_index % len(BATCH_SIZES)]
        yield rows[start : start + size]
        start, batch_index = start + size, batch_index + 1


def export_student(
    folder: Path, out: Path, *, int8: bool = False, rows: Sequence[AspectExample] = ()
) -> onnx_runtime.OnnxMetadata:
    """Write a student as an ONNX graph in a folder of its own.

    Args:
        folder: Folder of the student.
        out: Folder to write; an earlier export there is replaced.
        int8: Quantize matrices to int8.
        rows: Rows of the user's for the comparison.

    Returns:
        Metadata of the graph with the result of the comparison.

    Raises:
        UserError: The graph differs from the student (int8: an answer is not finite), `out` is not
            an export, or the disk is full; `out` is then unchanged.
        MissingExtra: onnx, onnxscript or onnxruntime is missing.
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "onnx")
    if (folder / onnx_runtime.METADATA_FILE).is_file():
        raise UserError(f"{folder} is an export already", hint="name the student's own folder")
    if out.exists() and not (out / onnx_runtime.METADATA_FILE).is_file():
        raise UserError(f"{out} exists and is not an export", hint="name another folder: --out")
    jsonl.check_folder_writable(out.parent, hint="name another folder: --out")
    loaded = load_student(folder)
    if "context" in loaded.config.width:
        raise UserError(f"{folder} reads contexts: it is a teacher and cannot be exported")
    compared_rows = probe_rows(loaded.config, rows)
    with (
        write_errors(out, hint="name another folder: --out"),
        manifest.atomic_directory(out) as staging,
    ):
        for name in _REQUIRED_FILES:
            shutil.copyfile(folder / name, staging / name)
        for name in _OPTIONAL_FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, staging / name)
        _write_graph(loaded, compared_rows, staging / onnx_runtime.GRAPH_FILE, int8=int8)
        metadata = _verify(loaded, compared_rows, staging, int8=int8)
        with jsonl.atomic_write(staging / onnx_runtime.METADATA_FILE) as f:
            f.write(metadata.model_dump_json(indent=1).encode())
        (staging / "README.md").write_text(_render_card(folder, metadata), encoding="utf-8")
    return metadata


def _write_graph(
    loaded: LoadedStudent, rows: Sequence[AspectExample], path: Path, *, int8: bool
) -> None:

    # The tracer would take a dimension of size 1 in the example as constant.
    example = sorted(rows, key=loaded.collator.length)[-3:]
    export_graph(loaded.student, loaded.collator(example), path)
    if int8:
        float32_path = path.with_suffix(".float32")
        path.replace(float32_path)
        quantize_int8(float32_path, path)
        float32_path.unlink()


def _verify(
    loaded: LoadedStudent, rows: Sequence[AspectExample], staging: Path, *, int8: bool
) -> onnx_runtime.OnnxMetadata:
    """Load the graph back and compare it.

    Raises:
        UserError: The graph differs too much from the student.
    """
    tokenizer = (staging / "tokenizer.json").read_text(encoding="utf-8")
    session = onnx_runtime.open_session(staging / onnx_runtime.GRAPH_FILE)
    empty = GraphComparison((0, 0), (), 0.0, 0.0, 0.0)
    metadata = _metadata(loaded, rows, empty, int8=int8)
    collator = onnx_runtime.array_collator_for(tokenizer, loaded.config)
    comparison = compare_outputs(
        loaded, onnx_runtime.OnnxStudent(loaded.config, metadata, collator, session, ""), rows
    )
    tolerance = float("inf") if int8 else MAX_LOGIT_DIFF
    if not comparison.max_logit_diff <= tolerance:  # also true for NaN
        raise UserError(
            "the graph does not give the student's answers: "
            f"a logit differs by {comparison.max_logit_diff:.3g}",
            hint="report which student this is; nothing was written",
        )
    return _metadata(loaded, rows, comparison, int8=int8)


def _metadata(
    loaded: LoadedStudent, rows: Sequence[AspectExample], comparison: GraphComparison, *, int8: bool
) -> onnx_runtime.OnnxMetadata:

    return onnx_runtime.OnnxMetadata(
        precision="int8" if int8 else "float32",
        opset=OPSET,
        package_versions={p: version(p) for p in ("torch", *_PACKAGES)},
        student_revision=loaded.revision,
        rows_compared=len(rows),
        **comparison._asdict(),
    )


def _render_card(folder: Path, metadata: onnx_runtime.OnnxMetadata) -> str:
    """Return the student's own card with a section about the graph."""
    card_path = folder / "README.md"
    card = card_path.read_text(encoding="utf-8").rstrip() + "\n\n" if card_path.is_file() else ""
    packages = ", ".join(f"{k} {v}" for k, v in metadata.package_versions.items())
    batching_note = ", one row at a time" if metadata.precision == "int8" else ""
    shortest, longest = metadata.lengths
    return card + (
        f"## ONNX graph\n\n"
        f"`model.onnx`, {metadata.precision}, opset {metadata.opset}, exported from the student "
        f"with revision `{metadata.student_revision[:12]}` by {packages}.\n\n"
        f"Compared with the student on {metadata.rows_compared} rows of {shortest} to {longest} "
        f"tokens{batching_note}: {100 * metadata.agreement:.1f} % have the same label; logits "
        f"differ by at most {metadata.max_logit_diff:.2g}, probabilities by at most "
        f"{metadata.max_probability_diff:.2g}.\n\n"
        "The metrics above are those of the student itself.\n"
    )
