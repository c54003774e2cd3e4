"""`gen-msa leakage`: find posts that several splits share, by text or by image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gen_msa.cli._options import count_noun

if TYPE_CHECKING:
    from gen_msa.evaluation.leakage import LeakageReport

SplitsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SPLIT SPLIT...",
        help="DATASET:SPLIT or files; each is compared with those before it, so give train first.",
        show_default=False,
    ),
]
AllowOption = Annotated[
    int, typer.Option("--allow", help="Number of shared posts up to which the exit code is 0.")
]
NearTextOption = Annotated[
    float,
    typer.Option(
        "--near-text", help="Minimum Jaccard index of word trigrams; 0: equal texts only."
    ),
]
NearImageOption = Annotated[
    int,
    typer.Option(
        "--near-image",
        help="Maximum distance of image hashes, in bits of 64; -1: equal bytes only.",
    ),
]
ShowOption = Annotated[int, typer.Option("--show", help="Number of table rows.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write all matches here as JSON.")
]
MediaRootOption = Annotated[
    Path | None, typer.Option("--media-root", help="Folder that image paths are relative to.")
]
FormatOption = Annotated[str | None, typer.Option("--format", help="Format of files; see `ls`.")]

EXIT_CODE = 3


def leakage(
    splits: SplitsArgument,
    allow: AllowOption = 0,
    near_text: NearTextOption = 0.5,
    near_image: NearImageOption = 8,
    max_rows: ShowOption = 20,
    out: OutOption = None,
    media_root: MediaRootOption = None,
    format_: FormatOption = None,
) -> None:
    """Find posts that splits share; exit with 3 when there are more than --allow.

    Reported are equal texts (case, white space, mentions and URLs ignored), similar texts, equal
    images under any file name, and images that were saved again. Labels are ignored.
    """
    from rich.console import Console

    from gen_msa.data import open_examples
    from gen_msa.evaluation.leakage import LeakageSettings, find_leakage
    from gen_msa.jsonl import atomic_write, check_writable
    from gen_msa.settings import build

    options = {
        "near_text": near_text or None,
        "near_image": near_image if near_image >= 0 else None,
    }
    settings = build(LeakageSettings, options, "the command line")
    if out is not None:
        check_writable(out)
    sources = [open_examples(s, format=format_, media_root=media_root) for s in splits]
    console = Console(stderr=True)
    with console.status("reading the splits"):
        report = find_leakage(sources, settings)
    if out is not None:
        with atomic_write(out) as f:
            f.write(report.model_dump_json(indent=1).encode())
    _print_report(report, max_rows)
    verdict = f"{count_noun(report.posts, 'post')} also in an earlier split; {allow:,} allowed"
    console.print(verdict, highlight=False)
    if report.posts > allow:
        raise typer.Exit(EXIT_CODE)


def _print_report(report: "LeakageReport", max_rows: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from gen_msa.report.style import printable

    console = Console()
    box_style = box.SIMPLE_HEAD if console.is_terminal else None
    split_table = Table(box=box_style, pad_edge=False, header_style="dim")
    for head in (
        "split",
        "posts",
        "rejected",
        "no words",
        "short",
        "images",
        "no bytes",
        "no hash",
    ):
        split_table.add_column(head, justify="left" if head == "split" else "right", no_wrap=True)
    for s in report.splits:
        counts = (
            s.posts,
            s.rejected,
            s.without_words,
            s.short_texts,
            s.images,
            s.images_without_bytes,
            s.images_without_hash,
        )
        split_table.add_row(printable(s.name), *(f"{n:,}" for n in counts))
    console.print(split_table)
    console.print("  ".join(f"{kind}: {n:,}" for kind, n in report.counts.items()), highlight=False)
    if not report.duplicates or max_rows <= 0:
        return
    duplicate_table = Table(box=box_style, pad_edge=False, header_style="dim")
    for head in ("kind", "score", "earlier", "later", "excerpt"):
        duplicate_table.add_column(head, no_wrap=head in ("kind", "score"), overflow="fold")
    for duplicate in report.duplicates[:max_rows]:
        more_note = f" +{duplicate.n_more}" if duplicate.n_more else ""
        first, second = (
            f"{duplicate.earlier_split} {duplicate.earlier_post}{more_note}",
            f"{duplicate.later_split} {duplicate.later_post}",
        )
        duplicate_table.add_row(
            duplicate.kind,
            f"{duplicate.score:.2f}",
            *map(printable, (first, second, duplicate.excerpt)),
        )
    console.print(duplicate_table)
    if len(report.duplicates) > max_rows:
        console.print(
            f"and {len(report.duplicates) - max_rows:,} more rows: --show, or -o FILE", style="dim"
        )
