"""A baseline: the most frequent gold polarity of a source, whatever the post says.

`majority:SOURCE` counts the gold opinions of `DATASET:SPLIT` or of a file once, when it is made.
Its probabilities are the shares of the classes; the earlier label wins a tie (negative, neutral,
positive). It explains nothing. A test split is refused: its shares are what a test must not give
away. Knows nothing of posts.

    gen-msa explain posts.jsonl --reader majority:twitter2015:train
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa.data import open_source
from gen_msa.data.splits import is_test
from gen_msa.errors import UserError
from gen_msa.readers._asked import Asked, asked
from gen_msa.readers.base import Reader, ReaderSettings, Reading, Shown, readers
from gen_msa.types import Example, Opinion, Polarity, Post


class Majority:
    """Says one label of every aspect."""

    def __init__(
        self, counts: Mapping[Polarity, int], settings: ReaderSettings, about: str
    ) -> None:
        """`counts`: gold opinions of each class, at least one of any; `about`: whose they are."""
        total = sum(counts.values())
        self._settings = settings
        self._probs = {p: counts.get(p, 0) / total for p in Polarity}
        self._says = max(Polarity, key=lambda p: self._probs[p])  # the first of equals
        self._how = {"majority_of": about}

    def read(self, posts: Sequence[Post]) -> list[Reading]:
        """The same polarity and probabilities for every aspect asked about."""
        return [self._reading(a) for a in asked(posts, self._settings)]

    def preview(self, posts: Sequence[Post]) -> list[Shown]:
        """Nothing: nothing is asked."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """What it says, of whose labels, and where aspects come from."""
        probs: dict[str, JsonValue] = {str(p): share for p, share in self._probs.items()}
        return {"probs": probs, "aspects": self._settings.aspects, **self._how}

    def _reading(self, about: Asked) -> Reading:
        how = {**self._how, "aspect_source": about.source}
        said = Opinion(
            by=self._settings.reader, polarity=self._says, probs=dict(self._probs), how=how
        )
        return Reading(tuple(said.model_copy(update={"aspect": a}) for a in about.aspects))


@readers.register
def make(target: str, settings: ReaderSettings, media_root: Path) -> Reader:
    """The majority reader of the source `target`; reads it whole, once."""
    if not target:
        mend = "write majority:SOURCE, e.g. majority:twitter2015:train"
        raise UserError("majority needs labels to count", mend=mend)
    if is_test(target):
        raise UserError(
            f"majority:{target}: the labels of a test split are not to be counted",
            mend="count those of its train split",
        )
    counts: Counter[Polarity] = Counter()
    bad = 0
    for row in open_source(target).rows():
        if isinstance(row, Example):
            counts.update(o.polarity for o in row.said_by("gold") if o.polarity)
        else:
            bad += 1
    if not counts:
        raise UserError(f"{target} has no opinion by gold to count")
    unread = f", {bad:,} rows could not be read" if bad else ""
    return Majority(counts, settings, f"{target} (n={counts.total():,}{unread})")
