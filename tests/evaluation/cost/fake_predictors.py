"""Predictors with known cost: they count posts, use a given CPU time, or fail."""

import os
import time
from pathlib import Path

from gen_msa.errors import UserError
from gen_msa.predictors import Prediction
from gen_msa.types import OVERALL_ASPECT, Opinion, Polarity


class CountingPredictor:
    """Writes every post into `log`, and uses `seconds` of CPU time for each."""

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        self._log, self._seconds = log, seconds

    def predict(self, posts):
        for post in posts:
            with self._log.open("a", encoding="utf-8") as f:
                f.write(f"{os.getpid()} {post.id} {len(posts)} {os.environ['OMP_NUM_THREADS']}\n")
            end = time.process_time() + self._seconds
            while time.process_time() < end:
                pass
        opinion = Opinion(annotator="counting", aspect=OVERALL_ASPECT, polarity=Polarity.NEUTRAL)
        return [Prediction((opinion,)) for _ in posts]

    def preview(self, posts):
        return []

    def fingerprint(self):
        return {"seconds": self._seconds}


class FailingPredictor(CountingPredictor):
    """Fails in the repeat `failing_repeat` (from 0): by an error, or by ending its process."""

    def __init__(self, log: Path, failing_repeat: int, *, dies: bool = False) -> None:
        super().__init__(log)
        self._remaining, self._dies = failing_repeat, dies

    def predict(self, posts):
        if self._remaining == 0:
            if self._dies:
                os._exit(7)
            raise ValueError("the soup is cold")
        self._remaining -= 1
        return super().predict(posts)


def fail_to_build(log: Path) -> CountingPredictor:
    """Raise as a predictor without weights does."""
    raise UserError(f"no weights beside {log.name}", hint="cook them")
