"""`gen-msa export`: an adapter and its base as one model, a student as one graph."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.errors import UserError

if TYPE_CHECKING:
    from gen_msa.finetuning.merge_adapter import MergedModel
    from gen_msa.models import AspectExample

FolderArgument = Annotated[
    Path, typer.Argument(help="Of an adapter, a fine-tuned model or a student.")
]
MergeOption = Annotated[bool, typer.Option("--merge", help="Write base and adapter as one model.")]
Bf16Option = Annotated[
    bool, typer.Option("--bf16", help="In bfloat16, not in the base's own dtype.")
]
OnnxOption = Annotated[bool, typer.Option("--onnx", help="A student as one ONNX graph.")]
Int8Option = Annotated[bool, typer.Option("--int8", help="With --onnx: its matrices in 8 bits.")]
PostsOption = Annotated[
    str, typer.Option("--posts", help="With --onnx: compared on these posts too.")
]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Default: beside FOLDER.")]
BaseOption = Annotated[
    str, typer.Option("--base", help="The base, if it is not found by its name.")
]

MAX_COMPARED_ROWS = 256
"""Rows of `--posts` that student and graph are both asked about, the first ones."""


def export(
    folder: FolderArgument,
    merge: MergeOption = False,
    bf16: Bf16Option = False,
    onnx: OnnxOption = False,
    int8: Int8Option = False,
    posts: PostsOption = "tiny",
    out: OutOption = None,
    base: BaseOption = "",
) -> None:
    """Merge an adapter into its base, or make a graph of a student; compared before it is kept.

    gen-msa export adapters/mabsa --merge --bf16

    gen-msa export students/text/student --onnx --int8
    """
    if onnx or int8 or (folder / "student.json").is_file():
        if merge or bf16 or base:
            raise UserError("a student has no base and no adapter", hint="use --onnx [--int8]")
        _export_onnx(folder, out, onnx=onnx, int8=int8, posts=posts)
        return
    if not (merge or bf16):
        raise UserError("say what to export", hint="add --merge, and perhaps --bf16")
    from gen_msa.finetuning import merge_adapter

    target = out or folder.with_name(f"{folder.name}-merged")
    _print_export(merge_adapter.merge_adapter(folder, target, base=base, bf16=bf16))


def _print_export(exported: "MergedModel") -> None:
    for name, note in exported.notes.items():
        print(f"{name}: {note}")
    print(
        f"wrote {exported.folder} ({exported.dtype}); read back, its scores are within {exported.max_difference:.2g} nats "
        f"of the adapted model's ({exported.tolerance:g} allowed)"
    )


def _export_onnx(folder: Path, out: Path | None, *, onnx: bool, int8: bool, posts: str) -> None:
    if not onnx:
        raise UserError("say as what to export the student", hint="add --onnx, or --onnx --int8")
    if not (folder / "student.json").is_file():
        raise UserError(f"{folder} holds no student", hint="name the folder with student.json")
    from gen_msa.errors import MissingExtra

    try:
        from gen_msa.models.onnx_export.folder import MAX_LOGIT_DIFF, export_student
    except ModuleNotFoundError as e:
        if e.name not in ("torch", "tokenizers", "transformers"):
            raise
        raise MissingExtra(e.name, "train") from None
    target = out or folder.with_name(f"{folder.name}-{'int8' if int8 else 'onnx'}")
    exported = export_student(folder, target, int8=int8, rows=_load_rows(posts))
    tolerance_note = "" if int8 else f" ({MAX_LOGIT_DIFF:g} allowed)"
    print(
        f"wrote {target} ({exported.precision}); read back and asked about {exported.rows_compared} rows of "
        f"{exported.lengths[0]} to {exported.lengths[1]} tokens, {100 * exported.agreement:.1f} % have the "
        f"student's label; logits are within {exported.max_logit_diff:.2g} of the student's{tolerance_note}, "
        f"probabilities within {exported.max_probability_diff:.2g}"
    )


def _load_rows(posts: str) -> list["AspectExample"]:
    """The first rows of a source, without pictures or sound."""
    from gen_msa.data import open_examples
    from gen_msa.models import AspectExample
    from gen_msa.types import OVERALL_ASPECT, Rejected

    rows: list[AspectExample] = []
    for example in open_examples(posts).rows() if posts else ():
        if not isinstance(example, Rejected):
            post = example.post
            rows += [
                AspectExample(f"{post.id}/{a.term}", post.text, a)
                for a in post.aspects or (OVERALL_ASPECT,)
            ]
        if len(rows) >= MAX_COMPARED_ROWS:
            break
    return rows[:MAX_COMPARED_ROWS]
