"""The ledger: what has been answered, kept so that nothing is paid for or written twice.

SQLite in WAL mode with zlib-packed JSON values, keyed by a hash of everything that could change the
answer. A killed job loses at most the rows in flight. Knows nothing of what a value means.

    with Ledger(Path("opinions.ledger")) as ledger:
        ledger.put({key({"post": ..., "prompt": ...}): {"opinions": [...]}})
"""

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
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
    """A durable map from key to JSON value. Safe for several processes on one machine."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_MADE)
        except sqlite3.Error as e:
            raise UserError(
                f"{path} cannot be used as a ledger: {e}", mend="name another file"
            ) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was put is on disk."""
        self._db.close()

    def get(self, keys: Iterable[str]) -> dict[str, JsonValue]:
        """The values of those of `keys` that are known."""
        rows = self._db.execute(_GET, [json.dumps(list(keys))])
        return {k: json.loads(zlib.decompress(v)) for k, v in rows}

    def put(self, values: Mapping[str, JsonValue]) -> None:
        """Add values in one transaction. The first value ever put under a key stays."""
        rows = [(k, _pack(v)) for k, v in values.items()]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_PUT, rows)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM answers").fetchone()[0]
        return count


def _pack(value: JsonValue) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 1)
