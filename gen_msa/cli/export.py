"""`gen-msa export`: an adapter and its base as one model, a student as one graph."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.errors import UserError

if TYPE_CHECKING:
    from gen_msa.finetuning.exporting import Exported
    from gen_msa.students import Row

Folder = Annotated[Path, typer.Argument(help="Of an adapter, a fine-tuned model or a student.")]
Merge = Annotated[bool, typer.Option("--merge", help="Write base and adapter as one model.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="In bfloat16, not in the base's own dtype.")]
Onnx = Annotated[bool, typer.Option("--onnx", help="A student as one ONNX graph.")]
Int8 = Annotated[bool, typer.Option("--int8", help="With --onnx: its matrices in 8 bits.")]
Posts = Annotated[str, typer.Option("--posts", help="With --onnx: compared on these posts too.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Default: beside FOLDER.")]
Base = Annotated[str, typer.Option("--base", help="The base, if it is not found by its name.")]

COMPARED = 256
"""Rows of `--posts` that student and graph are both asked about, the first ones."""


def export(
    folder: Folder,
    merge: Merge = False,
    bf16: Bf16 = False,
    onnx: Onnx = False,
    int8: Int8 = False,
    posts: Posts = "tiny",
    out: Out = None,
    base: Base = "",
) -> None:
    """Merge an adapter into its base, or make a graph of a student; compared before it is kept.

    gen-msa export adapters/mabsa --merge --bf16

    gen-msa export students/text/student --onnx --int8
    """
    if onnx or int8 or (folder / "student.json").is_file():
        if merge or bf16 or base:
            raise UserError("a student has no base and no adapter", mend="use --onnx [--int8]")
        _graph(folder, out, onnx=onnx, int8=int8, posts=posts)
        return
    if not (merge or bf16):
        raise UserError("say what to export", mend="add --merge, and perhaps --bf16")
    from gen_msa.finetuning import exporting

    target = out or folder.with_name(f"{folder.name}-merged")
    _say(exporting.merge(folder, target, base=base, bf16=bf16))


def _say(done: "Exported") -> None:
    for what, note in done.notes.items():
        print(f"{what}: {note}")
    print(
        f"wrote {done.folder} ({done.dtype}); read back, its scores are within {done.off:.2g} nats "
        f"of the adapted model's ({done.allowed:g} allowed)"
    )


def _graph(folder: Path, out: Path | None, *, onnx: bool, int8: bool, posts: str) -> None:
    if not onnx:
        raise UserError("say as what to export the student", mend="add --onnx, or --onnx --int8")
    if not (folder / "student.json").is_file():
        raise UserError(f"{folder} holds no student", mend="name the folder with student.json")
    from gen_msa.errors import MissingExtra

    try:
        from gen_msa.students.exporting.writing import ALLOWED, export
    except ModuleNotFoundError as e:
        if e.name not in ("torch", "tokenizers", "transformers"):
            raise
        raise MissingExtra(e.name, "train") from None
    target = out or folder.with_name(f"{folder.name}-{'int8' if int8 else 'onnx'}")
    found = export(folder, target, int8=int8, rows=_rows(posts))
    allowed = "" if int8 else f" ({ALLOWED:g} allowed)"
    print(
        f"wrote {target} ({found.precision}); read back and asked about {found.probed} rows of "
        f"{found.lengths[0]} to {found.lengths[1]} tokens, {100 * found.agreement:.1f} % have the "
        f"student's label; logits are within {found.logits_off:.2g} of the student's{allowed}, "
        f"probabilities within {found.probability_off:.2g}"
    )


def _rows(posts: str) -> list["Row"]:
    """The first rows of a source, without pictures or sound."""
    from gen_msa.data import open_source
    from gen_msa.students import Row
    from gen_msa.types import WHOLE_POST, Rejected

    found: list[Row] = []
    for example in open_source(posts).rows() if posts else ():
        if not isinstance(example, Rejected):
            p = example.post
            found += [Row(f"{p.id}/{a.term}", p.text, a) for a in p.aspects or (WHOLE_POST,)]
        if len(found) >= COMPARED:
            break
    return found[:COMPARED]
