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

_MADE = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
)
_GET = "SELECT key, value FROM answers WHERE key IN (SELECT value FROM json_each(?))"
_PUT = "INSERT OR IGNORE INTO answers VALUES (?, ?)"


def key(parts: Mapping[str, JsonValue]) -> str:
    """Hex sha256 of named parts. Order does not matter; every name and value does."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Ledger:
    """A durable map from key to JSON value. Safe for threads, and processes of one machine."""

    def __init__(self, path: Path, known: Sequence[Path] = ()) -> None:
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
            self._db.execute(_MADE)
        except sqlite3.Error as e:
            raise UserError(
                f"{path} cannot be used as a ledger: {e}", mend="name another file"
            ) from e
        self._known = [_to_read(other) for other in known]
        self._one = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was put is on disk."""
        with self._one:
            for db in (*self._known, self._db):
                db.close()

    def get(self, keys: Iterable[str]) -> dict[str, JsonValue]:
        """The values of those of `keys` that are known."""
        wanted = list(keys)
        with self._one, _said_of(self.path):
            found = _found(self._db, wanted)
            for db in self._known:
                if older := _found(db, [k for k in wanted if k not in found]):
                    self.put(older)
                    found |= older
        return found

    def put(self, values: Mapping[str, JsonValue]) -> None:
        """Add values in one transaction. The first value ever put under a key stays."""
        rows = [(k, _pack(v)) for k, v in values.items()]
        with self._one, _said_of(self.path):
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


def gather(parts: Sequence[Path], into: Path) -> int:
    """Put all that ledgers know into one; returns how many answers it has now.

    The first to know a key is believed. `into` is left without a WAL, so that many machines can
    read it over a network at once. Raises `UserError` for a part that is no ledger.
    """
    with Ledger(into) as book:
        for part in parts:
            with closing(_to_read(part)) as db:
                book._db.execute("BEGIN IMMEDIATE")
                book._db.executemany(_PUT, db.execute("SELECT key, value FROM answers"))
                book._db.execute("COMMIT")
        count = len(book)
        book._db.execute("PRAGMA journal_mode=DELETE")
        return count


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """What goes wrong with the file, as a user can mend it."""
    try:
        yield
    except sqlite3.Error as e:
        mend = "make room on the disk, or let it be written; what was answered before is kept"
        raise UserError(f"the ledger {path} cannot be used: {e}", mend=mend) from e
    except (zlib.error, ValueError) as e:
        mend = "remove it, or name another file, and run again"
        raise UserError(f"the ledger {path} is damaged: {e}", mend=mend) from e


def _to_read(path: Path) -> sqlite3.Connection:
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            # SQLite would want to write beside it. Whole as it is: nobody who writes is there.
            address += "&immutable=1"
        db = sqlite3.connect(address, uri=True, timeout=60, check_same_thread=False)
        db.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
    except sqlite3.Error as e:
        raise UserError(f"{path} is no ledger: {e}", mend="name the .ledger of a run") from e
    return db


def _found(db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, JsonValue]:
    rows = db.execute(_GET, [json.dumps(keys)])
    return {k: json.loads(zlib.decompress(v)) for k, v in rows}


def _pack(value: JsonValue) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 1)
