"""Readers whose cost is known beforehand: they count what they read, burn so much time, or fail."""

import os
import time
from pathlib import Path

from gen_msa.errors import UserError
from gen_msa.readers import Reading
from gen_msa.types import WHOLE_POST, Opinion, Polarity


class Counting:
    """Writes every post that it reads into `log`, and burns `seconds` of CPU time on each."""

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        self._log, self._seconds = log, seconds

    def read(self, posts):
        for post in posts:
            with self._log.open("a", encoding="utf-8") as f:
                f.write(f"{os.getpid()} {post.id} {len(posts)} {os.environ['OMP_NUM_THREADS']}\n")
            end = time.process_time() + self._seconds
            while time.process_time() < end:
                pass
        said = Opinion(by="counting", aspect=WHOLE_POST, polarity=Polarity.NEUTRAL)
        return [Reading((said,)) for _ in posts]

    def preview(self, posts):
        return []

    def fingerprint(self):
        return {"seconds": self._seconds}


class Failing(Counting):
    """Fails in the lap numbered `lap`, counted from 0: by an error, or by ending its process."""

    def __init__(self, log: Path, lap: int, *, dies: bool = False) -> None:
        super().__init__(log)
        self._left, self._dies = lap, dies

    def read(self, posts):
        if self._left == 0:
            if self._dies:
                os._exit(7)
            raise ValueError("the soup is cold")
        self._left -= 1
        return super().read(posts)


def refused(log: Path) -> Counting:
    """A reader that cannot be made."""
    raise UserError(f"no weights beside {log.name}", mend="cook them")
