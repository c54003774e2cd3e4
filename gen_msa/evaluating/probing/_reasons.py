"""What reads explanations in place of a person: a named reader, or the small model within.

The shared ground of simulatability and consistency. Knows nothing of figures.

    reasons = told(bench, few=True)             # rows that have an explanation, labels masked
    by_reader(ReaderSettings(reader="student:DIR"), [asked(row, "It lasts two days")], root)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen_msa import prompting
from gen_msa.errors import UserError
from gen_msa.evaluating.probing._bench import Bench, Row, Trial
from gen_msa.evaluating.probing._guessing import Bags, Taught
from gen_msa.metrics import Undefined
from gen_msa.metrics.masking import masked
from gen_msa.readers import ReaderSettings, make
from gen_msa.results import Value
from gen_msa.types import Aspect, Polarity, Post

DEALS = 100
"""How often reasons are dealt out anew for chance."""

Label = Polarity | None


@dataclass(frozen=True)
class Told:
    """A row and its explanation without the labels' names."""

    row: Row
    reason: str


def told(bench: Bench, *, few: bool) -> list[Told]:
    """The rows that have an explanation; with `few`, of at most `limit` posts.

    Raises `Undefined` when there is none, or when only one label is ever said.
    """
    rows = [r for r in bench.rows if (r.said.explanation or "").strip()]
    rows = bench.some(rows) if few else rows
    if not rows:
        raise Undefined("the reader explains nothing")
    if len({r.label for r in rows}) < 2:
        raise Undefined(f"the reader says nothing but {rows[0].label}: there is nothing to tell")
    names = label_names(bench.settings)
    # In an order of their own: what is drawn does not hang on the order of the file.
    rows.sort(key=lambda r: (r.post.id, r.aspect.start or 0, r.aspect.term))
    return [Told(r, masked(r.said.explanation or "", names)) for r in rows]


def label_names(settings: ReaderSettings) -> tuple[str, ...]:
    """What the prompt that is set calls the labels; nothing for a reader without a prompt."""
    if not settings.prompt:
        return ()
    try:
        return tuple(prompting.load(settings.prompt).labels.values())
    except UserError:
        return ()


def asked(row: Row, text: str) -> Post:
    """A post whose text is `text` and nothing of the row's own, asked about the same aspect."""
    term = row.aspect.term
    start = text.find(term) if term else -1
    aspect = Aspect(term=term, start=start if start >= 0 else None)
    return Post(id=row.post.id, text=text, aspects=(aspect,))


def by_reader(settings: ReaderSettings, posts: Sequence[Post], media_root: Path) -> list[Label]:
    """What a named reader says of each post's one aspect; None where it says no label."""
    reader = make(settings.for_labels(), media_root)
    return [
        reading.opinions[0].polarity if reading.opinions else None for reading in reader.read(posts)
    ]


def dealt(
    labels: Sequence[Polarity], guess: Callable[[list[int]], Sequence[Label]], bench: Bench
) -> tuple[list[float], Value]:
    """How often labels are hit when reasons are dealt out to other rows: of each row, and in all.

    `guess` gives the guesses when row `i` gets the reason of row `order[i]`; what learns from the
    same rows learns anew each time, because a model that is taught and asked about rows in turn
    falls below chance on reasons that say nothing. The range holds 95 % of the deals.
    """
    hits = np.zeros((DEALS, len(labels)))
    for deal in range(DEALS):
        order = list(range(len(labels)))
        bench.dice("deal", deal).shuffle(order)
        hits[deal] = [g is y for g, y in zip(guess(order), labels, strict=True)]
    low, high = np.quantile(hits.mean(axis=1), (0.025, 0.975))
    how = f"reasons of other rows, dealt out {DEALS} times, seed {bench.seed}"
    value = Value(
        value=float(hits.mean()), n=len(labels), low=float(low), high=float(high), how=how
    )
    return hits.mean(axis=0).tolist(), value


def learnt(found: Bags, rows: Sequence[Told], bench: Bench) -> list[Polarity]:
    """What naive Bayes says of each bag, taught by the reader's own labels of other posts."""
    clusters = [t.row.cluster for t in rows]
    return Taught(found, [t.row.label for t in rows], clusters).guess(found, clusters, bench.seed)


def terms(rows: Sequence[Told]) -> list[str]:
    """The aspect of each row."""
    return [t.row.aspect.term for t in rows]


def trials(variant: str, rows: Sequence[Told], implied: Sequence[Label]) -> list[Trial]:
    """The log: what was said, and what the masked reason implies."""
    return [
        Trial(
            variant=variant,
            post=t.row.post.id,
            aspect=t.row.aspect.term,
            start=t.row.aspect.start,
            told=t.reason,
            gold=t.row.truth,
            before=t.row.label,
            after=label,
        )
        for t, label in zip(rows, implied, strict=True)
    ]
