"""`gen-msa export`: an adapter and its base as one model that needs neither."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.errors import UserError

if TYPE_CHECKING:
    from gen_msa.finetuning.exporting import Exported

Folder = Annotated[Path, typer.Argument(help="An adapter's folder, or a fine-tuned model's.")]
Merge = Annotated[bool, typer.Option("--merge", help="Write base and adapter as one model.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="In bfloat16, not in the base's own dtype.")]
Gguf = Annotated[bool, typer.Option("--gguf", help="As GGUF; text-only Llama models.")]
Kind = Annotated[str, typer.Option("--type", help="Of GGUF's matrices: f32, f16 or q8_0.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Default: beside FOLDER.")]
Base = Annotated[str, typer.Option("--base", help="The base, if it is not found by its name.")]


def export(
    folder: Folder,
    merge: Merge = False,
    bf16: Bf16 = False,
    gguf: Gguf = False,
    type_: Kind = "f16",
    out: Out = None,
    base: Base = "",
) -> None:
    """Merge an adapter into its base; the copy is read back and compared before it is kept.

    gen-msa export adapters/mabsa --merge --bf16
    """
    if not (merge or gguf or bf16):
        raise UserError("say what to export", mend="add --merge, and --bf16 or --gguf")
    if bf16 and gguf:
        raise UserError("--bf16 and --gguf exclude each other", mend="with --gguf use --type")
    from gen_msa.finetuning import exporting

    if gguf:
        if type_ not in ("f32", "f16", "q8_0"):
            raise UserError(f"--type {type_}: use f32, f16 or q8_0")
        target = out or folder.with_name(f"{folder.name}-gguf")
        kind: exporting.Kind = type_  # type: ignore[assignment]  # just checked
        _say(exporting.to_gguf(folder, target, kind, base=base))
    else:
        target = out or folder.with_name(f"{folder.name}-merged")
        _say(exporting.merge(folder, target, base=base, bf16=bf16))


def _say(done: "Exported") -> None:
    for what, note in done.notes.items():
        print(f"{what}: {note}")
    print(
        f"wrote {done.folder} ({done.dtype}); read back, its scores are within {done.off:.2g} nats "
        f"of the adapted model's ({done.allowed:g} allowed)"
    )
