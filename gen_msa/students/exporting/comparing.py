"""Does the graph answer as the student does? Asked with rows of many lengths, in batches of many
sizes. Knows nothing of files.

    rows = probe_rows(opened.kept, own=[...])
    compare(opened, graph, rows).logits_off
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy
import torch

from gen_msa.students.base import Row
from gen_msa.students.common.graphs import Graph, softmax
from gen_msa.students.common.keeping import Kept, Opened
from gen_msa.types import WHOLE_POST, Aspect

SIZES = (1, 2, 7, 16)
"""Rows of the batches, over and over."""
_TEXTS = (
    "The soup was good but the waiter so slow",
    "Great screen, awful battery, and not a word about the keyboard in the whole review!",
    "ok",
    "",
    "We waited for an hour, and then the train was full; still, the view made up for it, sort of",
)


class Compared(NamedTuple):
    """How near a graph is to its student."""

    lengths: tuple[int, int]
    batches: tuple[int, ...]
    logits_off: float
    """NaN where one of the two gave a number that is not finite."""
    probability_off: float
    agreement: float


def probe_rows(kept: Kept, own: Sequence[Row] = ()) -> list[Row]:
    """Rows to be asked: `own`, and some of every length up to more than a student reads.

    Features are random numbers, always the same; every third row has none.
    """
    aspects = [Aspect(term="soup", start=4), Aspect(term="the battery"), WHOLE_POST]
    texts = [*_TEXTS, *(" ".join([*_TEXTS] * n) for n in (2, 4, 40))]
    made = [
        Row(f"probe/{i}/{k}", text, aspect if aspect.start is None or i == 0 else aspects[1])
        for i, text in enumerate(texts)
        for k, aspect in enumerate(aspects)
    ]
    made = [*own, *made]
    widths = {m: w for m, w in kept.width.items() if m not in ("text", "context")}
    dice = torch.Generator().manual_seed(0)
    for i, row in enumerate(made):
        features = {
            m: torch.randn(1 + i % 16, w, generator=dice) for m, w in widths.items() if i % 3
        }
        shown = row.context or (row.text if kept.cues else "")
        made[i] = replace(row, inputs=row.inputs or features, context=shown)
    return made


def compare(opened: Opened, graph: Graph, rows: Sequence[Row]) -> Compared:
    """Ask both. A graph of 8 bits reads each row alone, as it does in use."""
    sizes: list[int] = []
    theirs, ours = [], []
    for some in _batches(rows):
        sizes.append(len(some))
        with torch.no_grad():
            theirs.append(opened.student(opened.collate(some)).logits.numpy())
        alone = graph.facts.precision == "int8"
        ours += [graph.logits([r]) for r in some] if alone else [graph.logits(some)]
    student, read = numpy.concatenate(theirs), numpy.concatenate(ours)
    shares, read_shares = softmax(student), softmax(read)
    lengths = [opened.collate.length(r) for r in rows]
    return Compared(
        lengths=(min(lengths), max(lengths)),
        batches=tuple(sorted(set(sizes))),
        logits_off=float(numpy.abs(student - read).max()),
        probability_off=float(numpy.abs(shares - read_shares).max()),
        agreement=float((shares.argmax(1) == read_shares.argmax(1)).mean()),
    )


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    at = turn = 0
    while at < len(rows):
        size = SIZES[turn % len(SIZES)]
        yield rows[at : at + size]
        at, turn = at + size, turn + 1
