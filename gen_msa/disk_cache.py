"""A folder of small files with a size limit; the least recently used files are removed first.

For files that can be computed again at any time. Several processes may share a folder: each counts
its own writes and lists the folder again when it seems full, so the limit holds approximately.

    cache = LruDiskCache(Path("image_features"), max_bytes=10**9)
    cache.put("ab12", b"...")
    cache.get("ab12")
"""

import os
from contextlib import suppress
from pathlib import Path

from gen_msa import jsonl
from gen_msa.errors import UserError

SIZE_VARIABLE = "GEN_MSA_CACHE_GB"
_DEFAULT_GB = 10.0
_FILL_SHARE = 0.9
"""Share of the limit in use after an eviction, so that not every write must evict."""


class LruDiskCache:
    """Files by key, in subfolders named by the first two characters of the key."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Use `folder`, which is created by the first write.

        Args:
            folder: Folder of the cache; several processes may share it.
            max_bytes: Limit of the total size of all files.
        """
        self.folder = folder
        self._max_bytes = max_bytes
        self._used_bytes: int | None = None
        """Total size as far as this process knows; None before the folder was listed."""

    def path(self, key: str) -> Path:
        """Return the path of a key's file, whether it exists or not."""
        return self.folder / key[:2] / key

    def get(self, key: str) -> bytes | None:
        """Return the bytes stored under `key`, or None, and mark the file as recently used.

        Raises:
            OSError: The file exists and cannot be read.
        """
        path = self.path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        # The modification time orders eviction; a folder that is not writable keeps its order.
        with suppress(OSError):
            os.utime(path)
        return data

    def put(self, key: str, data: bytes) -> None:
        """Write a file atomically, after evicting others where the limit demands it.

        Args:
            key: Name of the file; an existing file is replaced.
            data: Content of the file.

        Raises:
            OSError: The file cannot be written.
        """
        if self._used_bytes is None or self._used_bytes + len(data) > self._max_bytes:
            self._used_bytes = self._evict(len(data))
        with jsonl.atomic_write(self.path(key)) as f:
            f.write(data)
        self._used_bytes += len(data)

    def _evict(self, needed: int) -> int:
        """Remove least recently used files until `needed` bytes fit; return the bytes in use."""
        files = []
        for path in self.folder.glob("??/*"):
            # Another process may have removed it.
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
    """Return the size limit of a cache folder in bytes: `$GEN_MSA_CACHE_GB`, else 10 GB.

    Raises:
        UserError: The variable is not a number above 0.
    """
    value = os.environ.get(SIZE_VARIABLE, str(_DEFAULT_GB))
    try:
        gigabytes = float(value)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < float("inf"):
        raise UserError(f"{SIZE_VARIABLE}={value} is not a number of gigabytes", hint="e.g. 2.5")
    return int(gigabytes * 1e9)
