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
from gen_msa.students.base import Row
from gen_msa.students.common import graphs
from gen_msa.students.common.keeping import Opened, open_student
from gen_msa.students.exporting.comparing import Compared, compare, probe_rows

ALLOWED = 1e-4
"""Largest difference of a logit in float32."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_COPIED = ("student.json", "tokenizer.json")
_ALONG = ("figures.json", "recipe.yaml")


def export(
    folder: Path, out: Path, *, int8: bool = False, rows: Sequence[Row] = ()
) -> graphs.Facts:
    """Write the student in `folder` to `out` as one graph; in 8 bits with `int8`.

    The graph that was written is read back and asked about `rows` and rows of our own. Raises
    `UserError` when it does not answer as the student does (in 8 bits: when an answer is no
    number), when `out` is somebody else's, or the disk is full; then nothing is left at `out` but
    what stood there. Raises `MissingExtra` without onnx, onnxscript or onnxruntime.
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "onnx")
    if (folder / graphs.NAME).is_file():
        raise UserError(f"{folder} is exported already", mend="name the student's own folder")
    if out.exists() and not (out / graphs.NAME).is_file():
        raise UserError(f"{out} is there and was not made by export", mend="name another: --out")
    opened = open_student(folder)
    if "context" in opened.kept.width:
        raise UserError(f"{folder} reads contexts: it is a teacher, and never reads alone")
    asked = probe_rows(opened.kept, rows)
    try:
        with manifest.staged(out) as draft:
            for name in _COPIED:
                shutil.copyfile(folder / name, draft / name)
            for name in _ALONG:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, draft / name)
            _write_graph(opened, asked, draft / graphs.GRAPH, int8=int8)
            facts = _checked(opened, asked, draft, int8=int8)
            with jsonl.whole(draft / graphs.NAME) as f:
                f.write(facts.model_dump_json(indent=1).encode())
            (draft / "README.md").write_text(_card(folder, facts), encoding="utf-8")
    except OSError as e:
        raise UserError(f"{out} cannot be written: {e}", mend="free space, or name --out") from None
    return facts


def _write_graph(opened: Opened, rows: Sequence[Row], path: Path, *, int8: bool) -> None:
    from gen_msa.students.exporting import tracing

    # Any size of an example that is 1 would be taken for always 1.
    example = sorted(rows, key=opened.collate.length)[-3:]
    tracing.trace(opened.student, opened.collate(example), path)
    if int8:
        whole = path.with_suffix(".float32")
        path.rename(whole)
        tracing.quantise(whole, path)
        whole.unlink()


def _checked(opened: Opened, rows: Sequence[Row], draft: Path, *, int8: bool) -> graphs.Facts:
    """The facts of a graph that was read back. Raises `UserError` when it is too far off."""
    tokenizer = (draft / "tokenizer.json").read_text(encoding="utf-8")
    session = graphs.open_session(draft / graphs.GRAPH)
    blank = Compared((0, 0), (), 0.0, 0.0, 0.0)
    facts = _facts(opened, rows, blank, int8=int8)
    arranger = graphs.arranged(tokenizer, opened.kept)
    found = compare(opened, graphs.Graph(opened.kept, facts, arranger, session, ""), rows)
    allowed = float("inf") if int8 else ALLOWED
    if not found.logits_off <= allowed:  # NaN is not
        raise UserError(
            f"the graph does not answer as the student does: a logit is {found.logits_off:.3g} off",
            mend="tell us which student this is; nothing was written",
        )
    return _facts(opened, rows, found, int8=int8)


def _facts(opened: Opened, rows: Sequence[Row], found: Compared, *, int8: bool) -> graphs.Facts:
    from gen_msa.students.exporting.tracing import OPSET

    return graphs.Facts(
        precision="int8" if int8 else "float32",
        opset=OPSET,
        made_with={p: version(p) for p in ("torch", *_PACKAGES)},
        student_revision=opened.revision,
        probed=len(rows),
        **found._asdict(),
    )


def _card(folder: Path, facts: graphs.Facts) -> str:
    """The student's own card, and what became of it."""
    own = folder / "README.md"
    told = own.read_text(encoding="utf-8").rstrip() + "\n\n" if own.is_file() else ""
    packages = ", ".join(f"{k} {v}" for k, v in facts.made_with.items())
    alone = ", each alone" if facts.precision == "int8" else ""
    return told + (
        f"## As an ONNX graph\n\n"
        f"`model.onnx`, {facts.precision}, opset {facts.opset}, made of the student with revision "
        f"`{facts.student_revision[:12]}` by {packages}.\n\n"
        f"Read back and asked about {facts.probed} rows of {facts.lengths[0]} to "
        f"{facts.lengths[1]} tokens{alone}: {100 * facts.agreement:.1f} % have the student's "
        f"label; logits are at most {facts.logits_off:.2g} off, probabilities "
        f"{facts.probability_off:.2g}.\n\nThe figures above are those of the student itself.\n"
    )
