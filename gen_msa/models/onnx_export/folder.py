"""A student's folder in, a graph's folder out: traced, read back, compared, sealed, and then named.

Knows nothing of how a graph is traced or run.

    export(Path("students/text/student"), Path("student-int8"), int8=True)
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy
import torch

from gen_msa import jsonl, manifest
from gen_msa.errors import MissingExtra, UserError
from gen_msa.models.base import AspectExample
from gen_msa.models.inference import onnx_runtime
from gen_msa.models.inference.onnx_runtime import OnnxStudent, softmax
from gen_msa.models.inference.serialization import LoadedStudent, StudentConfig, load_student
from gen_msa.types import OVERALL_ASPECT, Aspect

# Does the graph answer as the student does? Asked with rows of many lengths, in batches of many

BATCH_SIZES = (1, 2, 7, 16)
"""Rows of the batches, over and over."""
_TEXTS = (
    "The soup was good but the waiter so slow",
    "Great screen, awful battery, and not a word about the keyboard in the whole review!",
    "ok",
    "",
    "We waited for an hour, and then the train was full; still, the view made up for it, sort of",
)


class GraphComparison(NamedTuple):
    """How near a graph is to its student."""

    lengths: tuple[int, int]
    batches: tuple[int, ...]
    max_logit_diff: float
    """NaN where one of the two gave a number that is not finite."""
    max_probability_diff: float
    agreement: float


def probe_rows(
    config: StudentConfig, user_rows: Sequence[AspectExample] = ()
) -> list[AspectExample]:
    """Rows to be asked: `own`, and some of every length up to more than a student reads.

    Features are random numbers, always the same; every third row has none.
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
    """Ask both. A graph of 8 bits reads each row alone, as it does in use."""
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


MAX_LOGIT_DIFF = 1e-4
"""Largest difference of a logit in float32."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_REQUIRED_FILES = ("student.json", "tokenizer.json")
_OPTIONAL_FILES = ("metrics.json", "recipe.yaml")


def export_student(
    folder: Path, out: Path, *, int8: bool = False, rows: Sequence[AspectExample] = ()
) -> onnx_runtime.OnnxMetadata:
    """Write the student in `folder` to `out` as one graph; in 8 bits with `int8`.

    The graph that was written is read back and asked about `rows` and rows of our own. Raises
    `UserError` when it does not answer as the student does (in 8 bits: when an answer is no
    number), when `out` is somebody else's, or the disk is full; then nothing is left at `out` but
    what stood there. Raises `MissingExtra` without onnx, onnxscript or onnxruntime.
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "onnx")
    if (folder / onnx_runtime.METADATA_FILE).is_file():
        raise UserError(f"{folder} is exported already", hint="name the student's own folder")
    if out.exists() and not (out / onnx_runtime.METADATA_FILE).is_file():
        raise UserError(f"{out} is there and was not made by export", hint="name another: --out")
    loaded = load_student(folder)
    if "context" in loaded.config.width:
        raise UserError(f"{folder} reads contexts: it is a teacher, and never reads alone")
    compared_rows = probe_rows(loaded.config, rows)
    try:
        with manifest.atomic_directory(out) as staging:
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
    except OSError as e:
        raise UserError(f"{out} cannot be written: {e}", hint="free space, or name --out") from None
    return metadata


def _write_graph(
    loaded: LoadedStudent, rows: Sequence[AspectExample], path: Path, *, int8: bool
) -> None:
    from gen_msa.models.onnx_export import export

    # Any size of an example that is 1 would be taken for always 1.
    example = sorted(rows, key=loaded.collator.length)[-3:]
    export.export_graph(loaded.student, loaded.collator(example), path)
    if int8:
        float32_path = path.with_suffix(".float32")
        path.rename(float32_path)
        export.quantize_int8(float32_path, path)
        float32_path.unlink()


def _verify(
    loaded: LoadedStudent, rows: Sequence[AspectExample], staging: Path, *, int8: bool
) -> onnx_runtime.OnnxMetadata:
    """The facts of a graph that was read back. Raises `UserError` when it is too far off."""
    tokenizer = (staging / "tokenizer.json").read_text(encoding="utf-8")
    session = onnx_runtime.open_session(staging / onnx_runtime.GRAPH_FILE)
    empty = GraphComparison((0, 0), (), 0.0, 0.0, 0.0)
    metadata = _metadata(loaded, rows, empty, int8=int8)
    collator = onnx_runtime.array_collator_for(tokenizer, loaded.config)
    comparison = compare_outputs(
        loaded, onnx_runtime.OnnxStudent(loaded.config, metadata, collator, session, ""), rows
    )
    tolerance = float("inf") if int8 else MAX_LOGIT_DIFF
    if not comparison.max_logit_diff <= tolerance:  # NaN is not
        raise UserError(
            f"the graph does not answer as the student does: a logit is {comparison.max_logit_diff:.3g} off",
            hint="tell us which student this is; nothing was written",
        )
    return _metadata(loaded, rows, comparison, int8=int8)


def _metadata(
    loaded: LoadedStudent, rows: Sequence[AspectExample], comparison: GraphComparison, *, int8: bool
) -> onnx_runtime.OnnxMetadata:
    from gen_msa.models.onnx_export.export import OPSET

    return onnx_runtime.OnnxMetadata(
        precision="int8" if int8 else "float32",
        opset=OPSET,
        package_versions={p: version(p) for p in ("torch", *_PACKAGES)},
        student_revision=loaded.revision,
        rows_compared=len(rows),
        **comparison._asdict(),
    )


def _render_card(folder: Path, metadata: onnx_runtime.OnnxMetadata) -> str:
    """The student's own card, and what became of it."""
    card_path = folder / "README.md"
    card = card_path.read_text(encoding="utf-8").rstrip() + "\n\n" if card_path.is_file() else ""
    packages = ", ".join(f"{k} {v}" for k, v in metadata.package_versions.items())
    batching_note = ", each alone" if metadata.precision == "int8" else ""
    return card + (
        f"## As an ONNX graph\n\n"
        f"`model.onnx`, {metadata.precision}, opset {metadata.opset}, made of the student with revision "
        f"`{metadata.student_revision[:12]}` by {packages}.\n\n"
        f"Read back and asked about {metadata.rows_compared} rows of {metadata.lengths[0]} to "
        f"{metadata.lengths[1]} tokens{batching_note}: {100 * metadata.agreement:.1f} % have the student's "
        f"label; logits are at most {metadata.max_logit_diff:.2g} off, probabilities "
        f"{metadata.max_probability_diff:.2g}.\n\nThe figures above are those of the student itself.\n"
    )
