"""`gen-msa leakage`: which posts of one split another has too, by their words or their pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gen_msa.evaluating.leakage import Leakage

Splits = Annotated[
    list[str],
    typer.Argument(
        metavar="SPLIT SPLIT...",
        help="DATASET:SPLIT or files; each is held against those before it, so train comes first.",
        show_default=False,
    ),
]
Allow = Annotated[int, typer.Option("--allow", help="Shared posts up to which it exits with 0.")]
NearText = Annotated[
    float, typer.Option("--near-text", help="Least Jaccard index of word trigrams; 0: equal only.")
]
NearPicture = Annotated[
    int,
    typer.Option("--near-picture", help="Most bits apart, of 64; -1: equal bytes only."),
]
Show = Annotated[int, typer.Option("--show", help="Rows in the table.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Everything found, as JSON.")]
MediaRoot = Annotated[
    Path | None, typer.Option("--media-root", help="Folder that picture paths are relative to.")
]
FormatName = Annotated[str | None, typer.Option("--format", help="Format of files; see `ls`.")]

EXIT = 3


def leakage(
    splits: Splits,
    allow: Allow = 0,
    near_text: NearText = 0.5,
    near_picture: NearPicture = 8,
    show: Show = 20,
    out: Out = None,
    media_root: MediaRoot = None,
    format_: FormatName = None,
) -> None:
    """Look for posts that splits share; exits with 3 when there are more than --allow.

    Equal texts (case, white space, mentions and URLs aside), near texts, equal pictures under any
    name, and pictures that were saved again. Labels are not looked at.
    """
    from rich.console import Console

    from gen_msa.data import open_source
    from gen_msa.evaluating.leakage import LeakageSettings, leakage
    from gen_msa.jsonl import whole
    from gen_msa.settings import build

    asked = {
        "near_text": near_text or None,
        "near_picture": near_picture if near_picture >= 0 else None,
    }
    settings = build(LeakageSettings, asked, "the command line")
    sources = [open_source(s, format=format_, media_root=media_root) for s in splits]
    err = Console(stderr=True)
    with err.status("reading the splits"):
        found = leakage(sources, settings)
    if out is not None:
        with whole(out) as f:
            f.write(found.model_dump_json(indent=1).encode())
    _print(found, show)
    verdict = f"{found.posts:,} posts are in an earlier split too; {allow:,} allowed"
    err.print(verdict, highlight=False)
    if found.posts > allow:
        raise typer.Exit(EXIT)


def _print(found: "Leakage", show: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from gen_msa.report.visible import printable

    out = Console()
    lines = box.SIMPLE_HEAD if out.is_terminal else None
    sides = Table(box=lines, pad_edge=False, header_style="dim")
    for head in ("split", "posts", "rejected", "wordless", "short", "pictures", "nameless", "flat"):
        sides.add_column(head, justify="left" if head == "split" else "right", no_wrap=True)
    for s in found.splits:
        counts = (s.posts, s.rejected, s.wordless, s.short, s.pictures, s.nameless, s.flat)
        sides.add_row(printable(s.name), *(f"{n:,}" for n in counts))
    out.print(sides)
    out.print("  ".join(f"{kind}: {n:,}" for kind, n in found.counts.items()), highlight=False)
    if not found.twins or show <= 0:
        return
    twins = Table(box=lines, pad_edge=False, header_style="dim")
    for head in ("kind", "score", "earlier", "later", "what"):
        twins.add_column(head, no_wrap=head in ("kind", "score"), overflow="fold")
    for t in found.twins[:show]:
        more = f" +{t.more}" if t.more else ""
        first, second = f"{t.first} {t.first_post}{more}", f"{t.second} {t.second_post}"
        twins.add_row(t.kind, f"{t.score:.2f}", *map(printable, (first, second, t.what)))
    out.print(twins)
    if len(found.twins) > show:
        out.print(f"and {len(found.twins) - show:,} more rows: --show, or -o FILE", style="dim")
