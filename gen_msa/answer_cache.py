"""The ledger: what has been answered, kept so that nothing is paid for or written twice.

SQLite in WAL mode with zlib-packed JSON values, keyed by a hash of everything that could change the
answer. A killed job loses at most the rows in flight. Knows nothing of what a value means.

    with Ledger(Path("opinions.ledger")) as ledger:
        ledger.put({key({"post": ..., "prompt": ...}): {"opinions": [...]}})
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
    """Hex sha256 of named parts. Order does not matter; every name and value does."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerCache:
    """A durable map from key to JSON value. Safe for threads, and processes of one machine."""

    def __init__(self, path: Path, reuse_cache: Sequence[Path] = ()) -> None:
        """`known` are older ledgers, only read: what is asked for and found there is taken over.

        Raises `UserError` for a file that is no ledger, and for a known one that does not exist.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._db = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_CREATE_TABLE)
        except sqlite3.Error as e:
            raise UserError(
                f"{path} cannot be used as a ledger: {e}", hint="name another file"
            ) from e
        self._reuse_dbs = [_open_read_only(other) for other in reuse_cache]
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was put is on disk."""
        with self._lock:
            for db in (*self._reuse_dbs, self._db):
                db.close()

    def get(self, keys: Iterable[str]) -> dict[str, JsonValue]:
        """The values of those of `keys` that are known."""
        requested = list(keys)
        with self._lock, _user_errors(self.path):
            answers = _fetch(self._db, requested)
            for db in self._reuse_dbs:
                if reused := _fetch(db, [k for k in requested if k not in answers]):
                    self.put(reused)
                    answers |= reused
        return answers

    def put(self, values: Mapping[str, JsonValue]) -> None:
        """Add values in one transaction. The first value ever put under a key stays."""
        rows = [(k, _pack(v)) for k, v in values.items()]
        with self._lock, _user_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_PUT, rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite ends it itself where the disk is full
                    self._db.execute("ROLLBACK")
                raise

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM answers").fetchone()[0]
        return count


def merge_caches(sources: Sequence[Path], target: Path) -> int:
    """Put all that ledgers know into one; returns how many answers it has now.

    The first to know a key is believed. `into` is left without a WAL, so that many machines can
    read it over a network at once. Raises `UserError` for a part that is no ledger.
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
    """What goes wrong with the file, as a user can mend it."""
    try:
        yield
    except sqlite3.Error as e:
        hint = "make room on the disk, or let it be written; what was answered before is kept"
        raise UserError(f"the ledger {path} cannot be used: {e}", hint=hint) from e
    except (zlib.error, ValueError) as e:
        hint = "remove it, or name another file, and run again"
        raise UserError(f"the ledger {path} is damaged: {e}", hint=hint) from e


def _open_read_only(path: Path) -> sqlite3.Connection:
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            # SQLite would want to write beside it. Whole as it is: nobody who writes is there.
            address += "&immutable=1"
        db = sqlite3.connect(address, uri=True, timeout=60, check_same_thread=False)
        db.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
    except sqlite3.Error as e:
        raise UserError(f"{path} is no ledger: {e}", hint="name the .ledger of a run") from e
    return db


def _fetch(db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, JsonValue]:
    rows = db.execute(_GET, [json.dumps(keys)])
    return {k: json.loads(zlib.decompress(v)) for k, v in rows}


def _pack(value: JsonValue) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 1)
