"""Remote files (s3://, gs://, any fsspec address) as local files.

Posts are downloaded before a job starts. Outputs are written to the working folder, which an answer
cache needs, and uploaded when they are complete. Images are not downloaded: they are read below
`--media-root`.

    OutputLocation.of("s3://bucket/out/opinions.jsonl").local_path        # opinions.jsonl
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
"""Suffixes of the files that a job writes beside its output."""


class OutputLocation(NamedTuple):
    """The local path of an output, and the address it is uploaded to, if any."""

    local_path: Path | None
    url: str | None = None

    @classmethod
    def of(cls, out: str | None) -> Self:
        """Return the location for the value of -o."""
        if out is None or not is_remote(out):
            return cls(Path(out) if out else None)
        return cls(Path(PurePosixPath(out).name), out)

    def send(self, *files: Path) -> None:
        """Upload those of `files` that exist to the folder of the output."""
        if self.url is None:
            return
        system, path = _open_filesystem(self.url)
        for file in files:
            if file.is_file():
                target = f"{path.rpartition('/')[0]}/{file.name}"
                try:
                    _upload(system, file, target)
                except Exception as e:  # each fsspec store raises its own errors
                    raise UserError(
                        f"{file} cannot be uploaded to {self.url}: {e}",
                        hint="the local file is complete; run the same command again to upload it",
                    ) from e
                print(f"uploaded {system.unstrip_protocol(target)}", file=sys.stderr)

    def send_all(self) -> None:
        """Upload the output and its sidecar files; remove remote sidecars that no longer exist."""
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
    except FileNotFoundError:  # the store has folders, and this one does not exist yet
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(file), target)


def is_remote(name: str) -> bool:
    """Return whether `name` is an address (SCHEME://…)."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://", name))


def source(url: str, *, format: str | None, media_root: Path | None) -> "ExampleSource":
    """Return the examples of a remote file; rejected rows name the address as their file.

    Args:
        url: The address.
        format: Format of the file; None: by its suffix.
        media_root: Folder that image paths are relative to.
    """
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
    """Return local paths: remote files are downloaded to `folder`; `*` in an address works.

    Args:
        names: Paths and addresses.
        folder: Gets the downloads.
    """
    local_paths: list[Path] = []
    for name in names:
        if not is_remote(name):
            local_paths.append(Path(name))
            continue
        system, path = _open_filesystem(name)
        try:
            paths = sorted(system.glob(path)) if "*" in path else [path]
            for remote_path in paths:
                # One folder per file: two addresses may end in the same file name.
                local_paths.append(folder / str(len(local_paths)) / PurePosixPath(remote_path).name)
                local_paths[-1].parent.mkdir()
                system.get_file(remote_path, str(local_paths[-1]))
        except Exception as e:  # each fsspec store raises its own errors
            raise UserError(
                f"{name} cannot be downloaded: {e}", hint="check address and credentials"
            ) from e
    return local_paths


def _open_filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path in it."""
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
