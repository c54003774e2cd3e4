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

VARIABLE = "GEN_MSA_CACHE_GB"
_DEFAULT_GB = 10.0
_LEFT = 0.9
"""Share of the bound that is filled after making room: not every file is to look for room."""


class Shelf:
    """Files by key, in sub-folders named by its first two letters."""

    def __init__(self, folder: Path, most: int) -> None:
        """`most`: bytes of all files; the folder is made when first written to."""
        self.folder = folder
        self._most = most
        self._held: int | None = None
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
        if self._held is None or self._held + len(data) > self._most:
            self._held = self._make_room(len(data))
        with jsonl.whole(self.path(key)) as f:
            f.write(data)
        self._held += len(data)

    def _make_room(self, wanted: int) -> int:
        """Bytes that are left when there is room for `wanted` more."""
        found = []
        for path in self.folder.glob("??/*"):
            # Another process may be quicker.
            with suppress(FileNotFoundError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        held = sum(size for _, size, _ in found)
        if held + wanted <= self._most:
            return held
        for _, size, path in sorted(found):
            if held + wanted <= _LEFT * self._most:
                break
            path.unlink(missing_ok=True)
            held -= size
        return held


def bound() -> int:
    """Bytes that a folder of the cache may hold: `$GEN_MSA_CACHE_GB`, else 10 GB.

    Raises `UserError` for what is no number above 0.
    """
    said = os.environ.get(VARIABLE, str(_DEFAULT_GB))
    try:
        most = float(said)
    except ValueError:
        most = 0.0
    if not 0 < most < float("inf"):
        raise UserError(f"{VARIABLE}={said} is no number of gigabytes", mend="e.g. 2.5")
    return int(most * 1e9)
