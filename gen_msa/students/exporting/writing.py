"""A student's folder in, a graph's folder out: traced, read back, compared, sealed, and then named.

Knows nothing of how a graph is traced or run.

    export(Path("students/text/student"), Path("student-int8"), int8=True)
"""

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from gen_msa import jsonl, manifest
from gen_msa.errors import MissingExtra, UserError
from gen_msa.students.base import AspectExample
from gen_msa.students.common import graphs
from gen_msa.students.common.keeping import LoadedStudent, load_student
from gen_msa.students.exporting.comparing import GraphComparison, compare_outputs, probe_rows

MAX_LOGIT_DIFF = 1e-4
"""Largest difference of a logit in float32."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_REQUIRED_FILES = ("student.json", "tokenizer.json")
_OPTIONAL_FILES = ("figures.json", "recipe.yaml")


def export_student(
    folder: Path, out: Path, *, int8: bool = False, rows: Sequence[AspectExample] = ()
) -> graphs.OnnxMetadata:
    """Write the student in `folder` to `out` as one graph; in 8 bits with `int8`.

    The graph that was written is read back and asked about `rows` and rows of our own. Raises
    `UserError` when it does not answer as the student does (in 8 bits: when an answer is no
    number), when `out` is somebody else's, or the disk is full; then nothing is left at `out` but
    what stood there. Raises `MissingExtra` without onnx, onnxscript or onnxruntime.
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "onnx")
    if (folder / graphs.METADATA_FILE).is_file():
        raise UserError(f"{folder} is exported already", hint="name the student's own folder")
    if out.exists() and not (out / graphs.METADATA_FILE).is_file():
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
            _write_graph(loaded, compared_rows, staging / graphs.GRAPH_FILE, int8=int8)
            metadata = _verify(loaded, compared_rows, staging, int8=int8)
            with jsonl.atomic_write(staging / graphs.METADATA_FILE) as f:
                f.write(metadata.model_dump_json(indent=1).encode())
            (staging / "README.md").write_text(_render_card(folder, metadata), encoding="utf-8")
    except OSError as e:
        raise UserError(f"{out} cannot be written: {e}", hint="free space, or name --out") from None
    return metadata


def _write_graph(loaded: LoadedStudent, rows: Sequence[AspectExample], path: Path, *, int8: bool) -> None:
    from gen_msa.students.exporting import tracing

    # Any size of an example that is 1 would be taken for always 1.
    example = sorted(rows, key=loaded.collator.length)[-3:]
    tracing.export_graph(loaded.student, loaded.collator(example), path)
    if int8:
        float32_path = path.with_suffix(".float32")
        path.rename(float32_path)
        tracing.quantize_int8(float32_path, path)
        float32_path.unlink()


def _verify(loaded: LoadedStudent, rows: Sequence[AspectExample], staging: Path, *, int8: bool) -> graphs.OnnxMetadata:
    """The facts of a graph that was read back. Raises `UserError` when it is too far off."""
    tokenizer = (staging / "tokenizer.json").read_text(encoding="utf-8")
    session = graphs.open_session(staging / graphs.GRAPH_FILE)
    empty = GraphComparison((0, 0), (), 0.0, 0.0, 0.0)
    metadata = _metadata(loaded, rows, empty, int8=int8)
    collator = graphs.array_collator_for(tokenizer, loaded.config)
    comparison = compare_outputs(loaded, graphs.OnnxStudent(loaded.config, metadata, collator, session, ""), rows)
    tolerance = float("inf") if int8 else MAX_LOGIT_DIFF
    if not comparison.max_logit_diff <= tolerance:  # NaN is not
        raise UserError(
            f"the graph does not answer as the student does: a logit is {comparison.max_logit_diff:.3g} off",
            hint="tell us which student this is; nothing was written",
        )
    return _metadata(loaded, rows, comparison, int8=int8)


def _metadata(loaded: LoadedStudent, rows: Sequence[AspectExample], comparison: GraphComparison, *, int8: bool) -> graphs.OnnxMetadata:
    from gen_msa.students.exporting.tracing import OPSET

    return graphs.OnnxMetadata(
        precision="int8" if int8 else "float32",
        opset=OPSET,
        package_versions={p: version(p) for p in ("torch", *_PACKAGES)},
        student_revision=loaded.revision,
        rows_compared=len(rows),
        **comparison._asdict(),
    )


def _render_card(folder: Path, metadata: graphs.OnnxMetadata) -> str:
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
