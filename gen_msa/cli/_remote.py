"""Files elsewhere (s3://, gs://, whatever fsspec knows) as files here.

Posts are fetched whole before a job begins; what it writes is made in the working folder, where a
ledger can live, and sent when it is whole. Knows nothing of jobs. Pictures are not fetched: they
lie on a path of this machine, `--media-root`.

    Place.of("s3://bucket/out/opinions.jsonl").here        # opinions.jsonl
"""

import atexit
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from gen_msa.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from gen_msa.data import Source

BESIDE = (".rejected.jsonl", ".settings.yaml", ".summary.json")
"""What lies beside a job's output, by suffix."""


class Place(NamedTuple):
    """Where an output is made, and the address it is then sent to, if any."""

    here: Path | None
    url: str | None = None

    @classmethod
    def of(cls, out: str | None) -> Self:
        """Of what was given as -o."""
        if out is None or not is_remote(out):
            return cls(Path(out) if out else None)
        return cls(Path(PurePosixPath(out).name), out)

    def send(self, *files: Path) -> None:
        """Send those of `files` that are there to the output's folder, each whole."""
        if self.url is None:
            return
        system, path = _opened(self.url)
        for file in files:
            if file.is_file():
                target = f"{path.rpartition('/')[0]}/{file.name}"
                try:
                    _put(system, file, target)
                except Exception as e:  # every store has errors of its own
                    raise UserError(
                        f"{file} could not be sent to {self.url}: {e}",
                        mend="it is whole here; run the same command again to send it",
                    ) from e
                print(f"sent {system.unstrip_protocol(target)}", file=sys.stderr)

    def send_all(self) -> None:
        """Send the output and what lies beside it; what no longer does is removed there."""
        if self.here is None or self.url is None:
            return
        beside = [self.here, *(self.here.with_suffix(s) for s in BESIDE)]
        self.send(*beside)
        system, path = _opened(self.url)
        for file in beside:
            old = f"{path.rpartition('/')[0]}/{file.name}"
            if not file.is_file() and system.exists(old):
                system.rm_file(old)
                print(f"removed {system.unstrip_protocol(old)}", file=sys.stderr)


def _put(system: Any, file: Path, target: str) -> None:
    try:
        system.put_file(str(file), target)
    except FileNotFoundError:  # a store with folders, and this one is not there yet
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(file), target)


def is_remote(name: str) -> bool:
    """Whether it is an address: SCHEME://…"""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://", name))


def source(url: str, *, format: str | None, media_root: Path | None) -> "Source":
    """The examples in a file elsewhere; rows that cannot be read name the address."""
    from gen_msa.data import Source, open_source
    from gen_msa.types import Example, Rejected

    folder = tempfile.mkdtemp(prefix="gen-msa-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (path,) = fetched([url], Path(folder))
    inner = open_source(str(path), format=format, media_root=media_root or Path())

    def rows() -> Iterator[Example | Rejected]:
        for row in inner.rows():
            bad = isinstance(row, Rejected) and row.file == str(path)
            yield row.model_copy(update={"file": url}) if bad else row

    return Source(url, inner.media_root, rows)


def fetched(names: Sequence[str], folder: Path) -> list[Path]:
    """Each file as one here: those elsewhere are copied into `folder`; `*` in an address works."""
    found: list[Path] = []
    for name in names:
        if not is_remote(name):
            found.append(Path(name))
            continue
        system, path = _opened(name)
        try:
            paths = sorted(system.glob(path)) if "*" in path else [path]
            for one in paths:
                # In a folder of its own: files of one name may come from two addresses.
                found.append(folder / str(len(found)) / PurePosixPath(one).name)
                found[-1].parent.mkdir()
                system.get_file(one, str(found[-1]))
        except Exception as e:  # every store has errors of its own
            raise UserError(f"{name} cannot be fetched: {e}", mend="check address and keys") from e
    return found


def _opened(url: str) -> tuple[Any, str]:
    """The store behind an address, and the path in it."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("fsspec", "ray") from None
    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as e:
        raise UserError(
            f"{url} cannot be opened: {e}", mend="s3:// needs pip install s3fs, gs:// gcsfs"
        ) from e
