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

from gen_msa.errors import UserError, describe_error, user_errors, write_errors

_CREATE_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
)
_GET = "SELECT key, value FROM answers WHERE key IN (SELECT value FROM json_each(?))"
_PUT = "INSERT OR IGNORE INTO answers VALUES (?, ?)"
MAX_VALUE_BYTES = 1 << 28
"""Bytes of a value as JSON; the answers about one post have some kilobytes."""


def hash_key(parts: Mapping[str, JsonValue]) -> str:
    """Return the hex SHA-256 of named parts, in any order; every name and value counts."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_content(fingerprint: JsonValue) -> JsonValue:
    """Return the part of a fingerprint that decides answers, without names and places of files.

    Args:
        fingerprint: As a predictor returns it. A mapping with the key `content` at any depth counts
            by that value alone; the rest of it is for people.
    """
    if isinstance(fingerprint, list):
        return [fingerprint_content(v) for v in fingerprint]
    if not isinstance(fingerprint, dict):
        return fingerprint
    if "content" in fingerprint:
        return fingerprint_content(fingerprint["content"])
    return {k: fingerprint_content(v) for k, v in fingerprint.items()}


def fingerprint_key(fingerprint: Mapping[str, JsonValue]) -> str:
    """Return the hash of what a predictor's answers depend on (`fingerprint_content`)."""
    return hash_key({"predictor": fingerprint_content(dict(fingerprint))})


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
        with user_errors(path, "cannot be used as an answer cache", hint="name another file"):
            self._db = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_CREATE_TABLE)
            self._db.execute(_GET, ["[]"]).fetchone()  # the table has these columns
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
            answers = _fetch(self._db, requested, self.path)
            for path, db in zip(self.reuse_cache, self._reuse_dbs, strict=True):
                if reused := _fetch(db, [k for k in requested if k not in answers], path):
                    self.put(reused)
                    answers |= reused
        return answers

    def put(self, values: Mapping[str, JsonValue]) -> None:
        """Add values in one transaction; the first value ever stored under a key stays.

        Raises:
            UserError: The file cannot be written, e.g. because the disk is full.
        """
        self._insert([(k, _pack(v)) for k, v in values.items()])

    def _insert(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Add packed values in one transaction."""
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
                # Answers that a reader could not use would stay for ever: the first one wins.
                cache._insert(_checked_rows(db, source))
        with _user_errors(target):
            count = len(cache)
            cache._db.execute("PRAGMA journal_mode=DELETE")
        return count


@contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file into `UserError`s with a hint."""
    hint = "make the file writable or name another one; stored answers are kept"
    with write_errors(f"the answer cache {path}", "cannot be used", hint=hint):
        yield


def _open_read_only(path: Path) -> sqlite3.Connection:
    with user_errors(path, "is not an answer cache", hint="name the .cache file of a run"):
        address = f"{path.absolute().as_uri()}?mode=ro"
        if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            # SQLite would need to write beside the file. Without a WAL no process is writing: the
            # file is complete and may be opened as immutable.
            address += "&immutable=1"
        db = sqlite3.connect(address, uri=True, timeout=60, check_same_thread=False)
        db.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
    return db


def _fetch(db: sqlite3.Connection, keys: Sequence[str], path: Path) -> dict[str, JsonValue]:
    rows = db.execute(_GET, [json.dumps(keys)])
    return {k: _unpack(v, k, path) for k, v in rows}


def _checked_rows(db: sqlite3.Connection, path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the rows of a cache, each after its value could be read."""
    with _user_errors(path):
        for key, value in db.execute("SELECT key, value FROM answers"):
            if not isinstance(key, str):
                raise _foreign_value(path, f"its key {key!r} is no text")
            _unpack(value, key, path)
            yield key, value


def _unpack(value: object, key: str, path: Path) -> JsonValue:
    """Return the JSON value of a row.

    Raises:
        UserError: The row was not written by an answer cache.
    """
    if not isinstance(value, bytes):
        raise _foreign_value(path, f"the value of {key[:16]} is {type(value).__name__}")
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(value, MAX_VALUE_BYTES)
        if inflater.unconsumed_tail or not inflater.eof:
            raise ValueError("it is cut off, or longer than any answer")
        unpacked: JsonValue = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as e:
        raise _foreign_value(path, f"the value of {key[:16]}: {describe_error(e)}") from e
    return unpacked


def _foreign_value(path: Path, reason: str) -> UserError:
    hint = "remove it or name another file, then run again"
    return UserError(f"the answer cache {path} is damaged: {reason}", hint=hint)


def _pack(value: JsonValue) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 1)
