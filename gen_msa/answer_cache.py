"""Store answers on disk, so that none is computed or paid for twice.

SQLite in WAL mode with zlib-compressed JSON values. A key is a hash of everything that could change
the answer. A killed job loses at most the rows in flight.

    with AnswerCache(Path("opinions.cache")) as cache:
        cache.put({hash_key({"post": ..., "prompt": ...}): {"opinions": [...]}})
"""

import hashlib
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from pydantic import JsonValue

from gen_msa.errors import UserError

_CREATE_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
)
_GET = "SELECT key, value FROM answers WHERE key IN (SELECT value FROM json_each(?))"
_PUT = "INSERT OR IGNORE INTO answers VALUES (?, ?)"


def hash_key(parts: Mapping[str, JsonValue]) -> str:
    """Return the hex SHA-256 of named parts, in any order; every name and value counts."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerCache:
    """Map keys to JSON values on disk. Safe for threads and for processes of one machine."""

    def __init__(self, path: Path, reuse_cache: Sequence[Path] = ()) -> None:
        """Open the cache at `path`, or create it.

        Args:
            path: SQLite file; missing parent folders are created.
            reuse_cache: Older caches, opened read-only; answers found in them are copied into this
                one.

        Raises:
            UserError: A file is not an answer cache, or a file of `reuse_cache` does not exist.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.reuse_cache = path, tuple(reuse_cache)
        try:
            self._db = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_CREATE_TABLE)
        except sqlite3.Error as e:
            raise UserError(
                f"{path} cannot be used as an answer cache: {e}", hint="name another file"
            ) from e
        self._reuse_dbs = [_open_read_only(other) for other in reuse_cache]
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; everything that was put is on disk."""
        with self._lock:
            for db in (*self._reuse_dbs, self._db):
                db.close()

    def get(self, keys: Iterable[str]) -> dict[str, JsonValue]:
        """Return the stored values of `keys`; unknown keys are missing from the result.

        Raises:
            UserError: The file cannot be read, or a stored value is damaged.
        """
        requested = list(keys)
        with self._lock, _user_errors(self.path):
            answers = _fetch(self._db, requested)
            for db in self._reuse_dbs:
                if reused := _fetch(db, [k for k in requested if k not in answers]):
                    self.put(reused)
                    answers |= reused
        return answers

    def put(self, values: Mapping[str, JsonValue]) -> None:
        """Add values in one transaction; the first value ever stored under a key stays.

        Raises:
            UserError: The file cannot be written, e.g. because the disk is full.
        """
        rows = [(k, _pack(v)) for k, v in values.items()]
        with self._lock, _user_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_PUT, rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite rolls back itself when the disk is full
                    self._db.execute("ROLLBACK")
                raise

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM answers").fetchone()[0]
        return count


def merge_caches(sources: Sequence[Path], target: Path) -> int:
    """Copy all answers of `sources` into `target`; the first value of a key wins.

    `target` is left without a WAL, so that many machines can read it over a network at once.

    Args:
        sources: Answer caches, opened read-only.
        target: Answer cache to extend or create.

    Returns:
        Number of answers in `target`.

    Raises:
        UserError: A source is not an answer cache.
    """
    with AnswerCache(target) as cache:
        for source in sources:
            with closing(_open_read_only(source)) as db:
                cache._db.execute("BEGIN IMMEDIATE")
                cache._db.executemany(_PUT, db.execute("SELECT key, value FROM answers"))
                cache._db.execute("COMMIT")
        count = len(cache)
        cache._db.execute("PRAGMA journal_mode=DELETE")
        return count


@contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file into `UserError`s with a hint."""
    try:
        yield
    except sqlite3.Error as e:
        hint = "free disk space or make the file writable; stored answers are kept"
        raise UserError(f"the answer cache {path} cannot be used: {e}", hint=hint) from e
    except (zlib.error, ValueError) as e:
        hint = "remove it or name another file, then run again"
        raise UserError(f"the answer cache {path} is damaged: {e}", hint=hint) from e


def _open_read_only(path: Path) -> sqlite3.Connection:
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            # SQLite would need to write beside the file. Without a WAL no process is writing: the
            # file is complete and may be opened as immutable.
            address += "&immutable=1"
        db = sqlite3.connect(address, uri=True, timeout=60, check_same_thread=False)
        db.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
    except sqlite3.Error as e:
        raise UserError(
            f"{path} is not an answer cache: {e}", hint="name the .cache file of a run"
        ) from e
    return db


def _fetch(db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, JsonValue]:
    rows = db.execute(_GET, [json.dumps(keys)])
    return {k: json.loads(zlib.decompress(v)) for k, v in rows}


def _pack(value: JsonValue) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 1)
