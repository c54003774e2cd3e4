"""Which rows of a source are whose, when several jobs share it.

Chunks are dealt out in turn: chunk k (from 0) belongs to shard k mod n + 1. So every row is in one
shard, whatever its id, and a shard's batches are those of a job that reads the whole source: its
answers are the same to the last bit. Every shard goes through all rows, which is cheap beside
reading them, and so sees repeated ids as one job would. Knows nothing of files' contents.

    Shard.parse("2/4").beside(Path("opinions.jsonl"), ".part")    # opinions.2-of-4.part
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gen_msa.errors import UserError

MAX_SHARDS = 1_000
"""Shards: `merge` has all their parts open at once, and Slurm's arrays end there too."""


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 1) of `of`; the default is the whole source."""

    index: int = 1
    n_shards: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `i/n`. Raises `UserError` unless 1 <= i <= n <= `MOST`."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
        index, n_shards = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= index <= n_shards <= MAX_SHARDS:
            raise UserError(
                f"--shard {text}: not a shard", hint="write i/n with 1 <= i <= n, e.g. 2/4"
            )
        return cls(index, n_shards)

    def owns(self, chunk: int) -> bool:
        """Whether chunk number `chunk`, from 0, is one of this shard's."""
        return chunk % self.n_shards == self.index - 1

    def path_beside(self, out: Path, suffix: str) -> Path:
        """This shard's own file beside `out`: its part, its ledger."""
        return out.with_name(f"{out.stem}.{self.index}-of-{self.n_shards}{suffix}")

    def __str__(self) -> str:
        return f"{self.index}/{self.n_shards}"
