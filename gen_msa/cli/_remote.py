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
    from gen_msa.data import ExampleSource

SIDECAR_SUFFIXES = (".rejected.jsonl", ".settings.yaml", ".summary.json")
"""What lies beside a job's output, by suffix."""


class OutputLocation(NamedTuple):
    """Where an output is made, and the address it is then sent to, if any."""

    local_path: Path | None
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
        system, path = _open_filesystem(self.url)
        for file in files:
            if file.is_file():
                target = f"{path.rpartition('/')[0]}/{file.name}"
                try:
                    _upload(system, file, target)
                except Exception as e:  # every store has errors of its own
                    raise UserError(
                        f"{file} could not be sent to {self.url}: {e}",
                        hint="it is whole here; run the same command again to send it",
                    ) from e
                print(f"sent {system.unstrip_protocol(target)}", file=sys.stderr)

    def send_all(self) -> None:
        """Send the output and what lies beside it; what no longer does is removed there."""
        if self.local_path is None or self.url is None:
            return
        files = [self.local_path, *(self.local_path.with_suffix(s) for s in SIDECAR_SUFFIXES)]
        self.send(*files)
        system, path = _open_filesystem(self.url)
        for file in files:
            remote_path = f"{path.rpartition('/')[0]}/{file.name}"
            if not file.is_file() and system.exists(remote_path):
                system.rm_file(remote_path)
                print(f"removed {system.unstrip_protocol(remote_path)}", file=sys.stderr)


def _upload(system: Any, file: Path, target: str) -> None:
    try:
        system.put_file(str(file), target)
    except FileNotFoundError:  # a store with folders, and this one is not there yet
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(file), target)


def is_remote(name: str) -> bool:
    """Whether it is an address: SCHEME://…"""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://", name))


def source(url: str, *, format: str | None, media_root: Path | None) -> "ExampleSource":
    """The examples in a file elsewhere; rows that cannot be read name the address."""
    from gen_msa.data import ExampleSource, open_examples
    from gen_msa.types import Example, Rejected

    folder = tempfile.mkdtemp(prefix="gen-msa-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (path,) = fetch_files([url], Path(folder))
    local_source = open_examples(str(path), format=format, media_root=media_root or Path())

    def rows() -> Iterator[Example | Rejected]:
        for row in local_source.rows():
            is_local_reject = isinstance(row, Rejected) and row.file == str(path)
            yield row.model_copy(update={"file": url}) if is_local_reject else row

    return ExampleSource(url, local_source.media_root, rows)


def fetch_files(names: Sequence[str], folder: Path) -> list[Path]:
    """Each file as one here: those elsewhere are copied into `folder`; `*` in an address works."""
    local_paths: list[Path] = []
    for name in names:
        if not is_remote(name):
            local_paths.append(Path(name))
            continue
        system, path = _open_filesystem(name)
        try:
            paths = sorted(system.glob(path)) if "*" in path else [path]
            for remote_path in paths:
                # In a folder of its own: files of one name may come from two addresses.
                local_paths.append(folder / str(len(local_paths)) / PurePosixPath(remote_path).name)
                local_paths[-1].parent.mkdir()
                system.get_file(remote_path, str(local_paths[-1]))
        except Exception as e:  # every store has errors of its own
            raise UserError(f"{name} cannot be fetched: {e}", hint="check address and keys") from e
    return local_paths


def _open_filesystem(url: str) -> tuple[Any, str]:
    """The store behind an address, and the path in it."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("fsspec", "ray") from None
    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as e:
        raise UserError(
            f"{url} cannot be opened: {e}", hint="s3:// needs pip install s3fs, gs:// gcsfs"
        ) from e
