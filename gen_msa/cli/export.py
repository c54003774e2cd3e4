"""`gen-msa export`: merge an adapter into its base, or write a student as ONNX."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.errors import UserError

if TYPE_CHECKING:
    from gen_msa.finetuning.merge_adapter import MergedModel
    from gen_msa.models import AspectExample

FolderArgument = Annotated[
    Path, typer.Argument(help="Folder of an adapter, a fine-tuned model or a student.")
]
MergeOption = Annotated[bool, typer.Option("--merge", help="Write base and adapter as one model.")]
Bf16Option = Annotated[
    bool, typer.Option("--bf16", help="Write bfloat16 instead of the dtype of the base.")
]
OnnxOption = Annotated[bool, typer.Option("--onnx", help="Write a student as one ONNX graph.")]
Int8Option = Annotated[
    bool, typer.Option("--int8", help="With --onnx: quantize its matrices to 8 bits.")
]
PostsOption = Annotated[
    str, typer.Option("--posts", help="With --onnx: also compare on these posts.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Output folder. Default: beside FOLDER.")
]
BaseOption = Annotated[
    str, typer.Option("--base", help="Folder of the base model, if it is not found by name.")
]

MAX_COMPARED_ROWS = 256
"""How many rows of `--posts` the student and the graph are compared on."""


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
    """Merge an adapter into its base, or write a student as ONNX; the result is checked first.

    gen-msa export adapters/mabsa --merge --bf16

    gen-msa export students/text/student --onnx --int8
    """
    if onnx or int8 or (folder / "student.json").is_file():
        if merge or bf16 or base:
            raise UserError("a student has no base and no adapter", hint="use --onnx [--int8]")
        _export_onnx(folder, out, onnx=onnx, int8=int8, posts=posts)
        return
    if not (merge or bf16):
        raise UserError("nothing to export", hint="add --merge, optionally with --bf16")
    from gen_msa.finetuning import merge_adapter

    target = out or folder.with_name(f"{folder.name}-merged")
    _print_export(merge_adapter.merge_adapter(folder, target, base=base, bf16=bf16))


def _print_export(exported: "MergedModel") -> None:
    for name, note in exported.notes.items():
        print(f"{name}: {note}")
    print(
        f"wrote {exported.folder} ({exported.dtype}); reloaded, its scores differ from those of "
        f"the adapted model by at most {exported.max_difference:.2g} nats "
        f"({exported.tolerance:g} allowed)"
    )


def _export_onnx(folder: Path, out: Path | None, *, onnx: bool, int8: bool, posts: str) -> None:
    if not onnx:
        raise UserError("no export format for the student", hint="add --onnx, or --onnx --int8")
    if not (folder / "student.json").is_file():
        raise UserError(f"{folder} has no student", hint="give the folder with student.json")
    from gen_msa.errors import MissingExtra

    try:
        from gen_msa.models.onnx_export import MAX_LOGIT_DIFF, export_student
    except ModuleNotFoundError as e:
        if e.name not in ("torch", "tokenizers", "transformers"):
            raise
        raise MissingExtra(e.name, "train") from None
    target = out or folder.with_name(f"{folder.name}-{'int8' if int8 else 'onnx'}")
    exported = export_student(folder, target, int8=int8, rows=_load_rows(posts))
    tolerance_note = "" if int8 else f" ({MAX_LOGIT_DIFF:g} allowed)"
    shortest, longest = exported.lengths
    print(
        f"wrote {target} ({exported.precision}); reloaded and compared on "
        f"{exported.rows_compared:,} rows of {shortest} to {longest} tokens: "
        f"{100 * exported.agreement:.1f} % have the student's label; logits differ by at most "
        f"{exported.max_logit_diff:.2g}{tolerance_note}, probabilities by at most "
        f"{exported.max_probability_diff:.2g}"
    )


def _load_rows(posts: str) -> list["AspectExample"]:
    """Return the first rows of a source, without images or sound."""
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
