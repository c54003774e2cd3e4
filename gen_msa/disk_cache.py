"""A folder of small files that never outgrows its bound: what was not looked at longest goes first.

For what can be made again at any time. Several processes may share a folder; each counts for
itself and looks again when it thinks the folder full, so that the bound is kept roughly. Knows
nothing of what the files hold.

    shelf = Shelf(Path("pictures"), most=10**9); shelf.put("ab12", b"..."); shelf.get("ab12")
"""

import os
from contextlib import suppress
from pathlib import Path

from gen_msa import jsonl
from gen_msa.errors import UserError

SIZE_VARIABLE = "GEN_MSA_CACHE_GB"
_DEFAULT_GB = 10.0
_FILL_SHARE = 0.9
"""Share of the bound that is filled after making room: not every file is to look for room."""


class LruDiskCache:
    """Files by key, in sub-folders named by its first two letters."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """`most`: bytes of all files; the folder is made when first written to."""
        self.folder = folder
        self._max_bytes = max_bytes
        self._used_bytes: int | None = None
        """Bytes that are there, as far as is known; None: nobody has looked."""

    def path(self, key: str) -> Path:
        """Where a file lies, or would."""
        return self.folder / key[:2] / key

    def get(self, key: str) -> bytes | None:
        """Its bytes, or None. Raises `OSError` for what is there and cannot be read."""
        path = self.path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        # To be looked at is to be kept; where that cannot be noted, it is as if it was not.
        with suppress(OSError):
            os.utime(path)
        return data

    def put(self, key: str, data: bytes) -> None:
        """Write it whole, or not at all; room is made first. Raises `OSError`."""
        if self._used_bytes is None or self._used_bytes + len(data) > self._max_bytes:
            self._used_bytes = self._evict(len(data))
        with jsonl.atomic_write(self.path(key)) as f:
            f.write(data)
        self._used_bytes += len(data)

    def _evict(self, needed: int) -> int:
        """Bytes that are left when there is room for `wanted` more."""
        files = []
        for path in self.folder.glob("??/*"):
            # Another process may be quicker.
            with suppress(FileNotFoundError):
                stat = path.stat()
                files.append((stat.st_mtime_ns, stat.st_size, path))
        used = sum(size for _, size, _ in files)
        if used + needed <= self._max_bytes:
            return used
        for _, size, path in sorted(files):
            if used + needed <= _FILL_SHARE * self._max_bytes:
                break
            path.unlink(missing_ok=True)
            used -= size
        return used


def max_cache_bytes() -> int:
    """Bytes that a folder of the cache may hold: `$GEN_MSA_CACHE_GB`, else 10 GB.

    Raises `UserError` for what is no number above 0.
    """
    value = os.environ.get(SIZE_VARIABLE, str(_DEFAULT_GB))
    try:
        gigabytes = float(value)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < float("inf"):
        raise UserError(f"{SIZE_VARIABLE}={value} is no number of gigabytes", hint="e.g. 2.5")
    return int(gigabytes * 1e9)
