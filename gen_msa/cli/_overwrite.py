"""Which existing files a job may replace: its own earlier outputs, and others only when told to.

check_replaceable(Path("opinions.jsonl"), overwrite=False)
"""

import zipfile
from pathlib import Path
from typing import Annotated

import typer

from gen_msa.errors import UserError, user_errors
from gen_msa.formula_guard import OWN_AUTHOR

OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace outputs that gen-msa has not written, too."),
]
_HEAD_BYTES = 4096
_OWN_HEADS = {
    ".csv": b"post,text,aspect,start,annotator,",
    ".html": b"Content-Security-Policy",
}
"""What the first bytes of a table and of a page contain."""
_STALE_SUFFIXES = (".jsonl", ".parquet", ".csv", ".html", ".xlsx", ".summary.json")


def check_replaceable(out: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file that no job has written.

    A job leaves `OUT.settings.yaml` beside its output; a table and a page are known by their head.

    Args:
        out: The output.
        overwrite: The user permits it.

    Raises:
        UserError: The file exists, holds something, and is none of ours; or it cannot be read.
    """
    if overwrite or not out.is_file() or out.with_suffix(".settings.yaml").exists():
        return
    with user_errors(out), out.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    own_head = _OWN_HEADS.get(out.suffix.lower())
    is_own = own_head in head if own_head else out.suffix == ".xlsx" and _is_own_workbook(out)
    if head.strip() and not is_own:
        raise UserError(
            f"{out} exists, and gen-msa has not written it",
            hint="name another file, or replace it: --overwrite",
        )


def _is_own_workbook(path: Path) -> bool:
    """Return whether the properties of a workbook name us as its author."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("docProps/core.xml") as core:
            return f"<dc:creator>{OWN_AUTHOR}</dc:creator>".encode() in core.read(_HEAD_BYTES)
    except (zipfile.BadZipFile, KeyError):
        return False


def stale_files(out: Path, written: set[Path]) -> list[Path]:
    """Return files of earlier runs beside an output that this run has not written again.

    Args:
        out: The output.
        written: The files that were written.
    """
    beside = (out.with_suffix(suffix) for suffix in _STALE_SUFFIXES)
    return [path for path in beside if path.is_file() and path not in written]
