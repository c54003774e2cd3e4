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

from gen_msa.students.base import AspectExample
from gen_msa.students.common.graphs import OnnxStudent, softmax
from gen_msa.students.common.keeping import StudentConfig, LoadedStudent
from gen_msa.types import OVERALL_ASPECT, Aspect

BATCH_SIZES = (1, 2, 7, 16)
"""Rows of the batches, over and over."""
_TEXTS = (
    "The soup was good but the waiter so slow",
    "Great screen, awful battery, and not a word about the keyboard in the whole review!",
    "ok",
    "",
    "We waited for an hour, and then the train was full; still, the view made up for it, sort of",
)


class GraphComparison(NamedTuple):
    """How near a graph is to its student."""

    lengths: tuple[int, int]
    batches: tuple[int, ...]
    max_logit_diff: float
    """NaN where one of the two gave a number that is not finite."""
    max_probability_diff: float
    agreement: float


def probe_rows(config: StudentConfig, user_rows: Sequence[AspectExample] = ()) -> list[AspectExample]:
    """Rows to be asked: `own`, and some of every length up to more than a student reads.

    Features are random numbers, always the same; every third row has none.
    """
    aspects = [Aspect(term="soup", start=4), Aspect(term="the battery"), OVERALL_ASPECT]
    texts = [*_TEXTS, *(" ".join([*_TEXTS] * n) for n in (2, 4, 40))]
    rows = [
        AspectExample(f"probe/{i}/{k}", text, aspect if aspect.start is None or i == 0 else aspects[1])
        for i, text in enumerate(texts)
        for k, aspect in enumerate(aspects)
    ]
    rows = [*user_rows, *rows]
    widths = {m: w for m, w in config.width.items() if m not in ("text", "context")}
    generator = torch.Generator().manual_seed(0)
    for i, row in enumerate(rows):
        features = {
            m: torch.randn(1 + i % 16, w, generator=generator) for m, w in widths.items() if i % 3
        }
        context = row.context or (row.text if config.cues else "")
        rows[i] = replace(row, inputs=row.inputs or features, context=context)
    return rows


def compare_outputs(loaded: LoadedStudent, graph: OnnxStudent, rows: Sequence[AspectExample]) -> GraphComparison:
    """Ask both. A graph of 8 bits reads each row alone, as it does in use."""
    sizes: list[int] = []
    student_logits, graph_logits = [], []
    for batch in _batches(rows):
        sizes.append(len(batch))
        with torch.no_grad():
            student_logits.append(loaded.student(loaded.collator(batch)).logits.numpy())
        one_by_one = graph.metadata.precision == "int8"
        graph_logits += [graph.logits([r]) for r in batch] if one_by_one else [graph.logits(batch)]
    expected, actual = numpy.concatenate(student_logits), numpy.concatenate(graph_logits)
    expected_probs, actual_probs = softmax(expected), softmax(actual)
    lengths = [loaded.collator.length(r) for r in rows]
    return GraphComparison(
        lengths=(min(lengths), max(lengths)),
        batches=tuple(sorted(set(sizes))),
        max_logit_diff=float(numpy.abs(expected - actual).max()),
        max_probability_diff=float(numpy.abs(expected_probs - actual_probs).max()),
        agreement=float((expected_probs.argmax(1) == actual_probs.argmax(1)).mean()),
    )


def _batches(rows: Sequence[AspectExample]) -> Iterator[Sequence[AspectExample]]:
    start = batch_index = 0
    while start < len(rows):
        size = BATCH_SIZES[batch_index % len(BATCH_SIZES)]
        yield rows[start : start + size]
        start, batch_index = start + size, batch_index + 1
