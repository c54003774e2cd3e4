"""What a probe works on: the reader's own answers as rows, and a way to ask it about changed posts.

Knows nothing of what is changed, or of figures.

    trials = bench.ask([Change(row, "grey", post, row.aspect, told="a grey picture")])
"""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gen_msa.readers import Reader, ReaderSettings
from gen_msa.types import Aspect, Noun, Opinion, Polarity, Post, Status

_AT_ONCE = 256
"""Posts that a reader is given at a time."""


@dataclass(frozen=True)
class Row:
    """One answer of the reader that has a label, and what gold says."""

    post: Post
    """As the reader is asked about it, with all aspects."""
    aspect: Aspect
    gold: Opinion | None
    said: Opinion
    cluster: str
    """The first picture's path, or the post's id: rows of one cluster depend on each other."""

    @property
    def label(self) -> Polarity:
        """What the reader said."""
        if self.said.polarity is None:
            raise ValueError(f"post {self.post.id}: a row without a label")
        return self.said.polarity

    @property
    def truth(self) -> Polarity | None:
        """What gold says; None where it is silent."""
        return self.gold.polarity if self.gold else None


@dataclass(frozen=True)
class Change:
    """A row's post made different."""

    row: Row
    variant: str
    """The way in which it was changed, e.g. `grey`."""
    post: Post
    aspect: Aspect
    """What is asked about now, as it stands in the changed post."""
    told: str
    """What was changed, for whoever reads the log."""


class Trial(Noun):
    """One row of the sample log: a change, and the label before and after it."""

    variant: str
    post: str
    aspect: str
    start: int | None = None
    told: str
    gold: Polarity | None = None
    before: Polarity | None
    after: Polarity | None
    p_before: float | None = None
    """Probability of the label `before`, as it was first read."""
    p_after: float | None = None
    """Probability of that same label after the change."""
    note: str = ""
    """Why the changed post could not be read; such a row is in no figure."""

    @property
    def flipped(self) -> float | None:
        """1 when the label is another one or none at all; None when there was no reading."""
        return None if self.note else float(self.after is not self.before)

    @property
    def dp(self) -> float | None:
        """Probability that the label lost; None without probabilities."""
        lost = self.p_before is None or self.p_after is None
        return None if lost or self.note else (self.p_before or 0.0) - (self.p_after or 0.0)

    @property
    def lost(self) -> float | None:
        """Right before minus right after: -1, 0 or 1; None where gold is silent."""
        if self.note or self.gold is None:
            return None
        return float(self.before is self.gold) - float(self.after is self.gold)


@dataclass(frozen=True)
class Bench:
    """A reader, what it said, and how much may be asked."""

    reader: Reader
    settings: ReaderSettings
    media_root: Path
    rows: tuple[Row, ...]
    seed: int = 0
    limit: int | None = None
    """Posts that one probe changes."""
    replicates: int = 10_000

    def some(self, rows: Iterable[Row]) -> list[Row]:
        """The rows of at most `limit` posts, by the hash of seed and post id, in their order."""
        rows = list(rows)
        ids = sorted({r.post.id for r in rows}, key=lambda i: order(self.seed, i))
        chosen = set(ids[: self.limit])
        return [r for r in rows if r.post.id in chosen]

    def dice(self, *names: object) -> random.Random:
        """Chance that hangs on the seed and these names alone, not on the order of the rows."""
        return random.Random(order(self.seed, *names))

    def ask(self, changes: Sequence[Change], reader: Reader | None = None) -> list[Trial]:
        """What the reader (or another one) says after each change; equal posts are read once."""
        reader = reader or self.reader
        unlike = {c.post.model_dump_json(): c.post for c in changes}
        posts = list(unlike.values())
        said: dict[str, dict[Aspect, Opinion] | str] = {}
        for i in range(0, len(posts), _AT_ONCE):
            part = posts[i : i + _AT_ONCE]
            for post, reading in zip(part, reader.read(part), strict=True):
                said[post.model_dump_json()] = reading.refused or {
                    o.aspect: o for o in reading.opinions
                }
        return [trial(c, said[c.post.model_dump_json()]) for c in changes]


def trial(change: Change, said: dict[Aspect, Opinion] | str) -> Trial:
    """The log's row of a change, given what was said of the changed post or why it was not."""
    row = change.row
    after = None if isinstance(said, str) else said.get(change.aspect)
    note = said if isinstance(said, str) else ""
    if not note and after is None:
        note = "the reader did not answer about the aspect"
    if after is not None and after.status is Status.ERROR:
        note = after.how.get("error", "") or "the reader could not be asked"
    elif after is not None and after.how.get("picture") != row.said.how.get("picture"):
        note = after.how.get("picture", "")  # the new picture was refused, so it was not seen
    return Trial(
        variant=change.variant,
        post=row.post.id,
        aspect=row.aspect.term,
        start=row.aspect.start,
        told=change.told,
        gold=row.truth,
        before=row.label,
        after=after.polarity if after else None,
        p_before=row.said.probability,
        p_after=after.probs.get(row.label) if after and after.probs else None,
        note=note,
    )


def order(*parts: object) -> int:
    """A number that hangs on the words of `parts` alone: the seed's order of things."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
