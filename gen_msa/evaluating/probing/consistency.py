"""Consistency: does the reason alone, its label names masked, imply the label that was said?

The post is hidden. A reason reader infers a label from the reason, and `consistency` is how often
it is the reader's own; `chance` is what the same labels give when reasons are dealt out to other
rows (its range holds 95 % of the deals), and `gain` the difference, the figure that counts. The
reason reader is a reader of your choice (a small student trained on reasons, `student:DIR`), or
naive Bayes on words: taught by gold's reasons and labels about other posts where gold explains
itself, else by the reader's own. The note says which. Taught by the reader itself, it learns the
reader's turns of phrase: one for each label gives 1.0, whatever is quoted. Knows nothing of whether
a reason is true.

    probe({"consistency": {"reasoner": {"reader": "student:DIR"}}}, reader, settings, ...)
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from gen_msa.evaluating.probing._bench import Bench
from gen_msa.evaluating.probing._figures import Ratio, minus, values
from gen_msa.evaluating.probing._guessing import Taught, bags, packed
from gen_msa.evaluating.probing._reasons import (
    Label,
    Told,
    asked,
    by_reader,
    dealt,
    learnt,
    terms,
    told,
    trials,
)
from gen_msa.evaluating.probing.base import Probed, probes
from gen_msa.metrics import Figure
from gen_msa.metrics.masking import masked
from gen_msa.readers import ReaderSettings
from gen_msa.settings import Settings

Deal = Callable[[list[int]], Sequence[Label]]

_ENOUGH = 30
"""Reasons by gold that teach the reason reader; below that the reader's own do."""


class ConsistencyOptions(Settings):
    """Who reads the reasons."""

    reasoner: ReaderSettings | None = None
    """A reader; None: the model that is built in."""


@probes.register
class Consistency:
    """Reads the label off each reason."""

    Options: ClassVar[type[Settings]] = ConsistencyOptions
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure("gain", "consistency minus chance"),
        Figure("consistency", "the masked reason alone implies the label that was said"),
        Figure("chance", "the same with reasons dealt out to other rows", "share", ""),
        Figure("explained", "labelled rows that have an explanation"),
    )

    def __init__(self, options: ConsistencyOptions) -> None:
        self._reasoner = options.reasoner

    def __call__(self, bench: Bench) -> Probed:
        """Raises `Undefined` without explanations, or where only one label is said."""
        rows = told(bench, few=self._reasoner is not None)
        labels = [t.row.label for t in rows]
        implied, guess, who = self._implied(rows, bench)
        same = [float(i is y) for i, y in zip(implied, labels, strict=True)]
        each, chance = dealt(labels, guess, bench)
        note = f"reason reader: {who}"
        ratios = {
            "gain": Ratio(minus(same, each), note=note),
            "consistency": Ratio(same, note=note),
        }
        found = values(ratios, [t.row.cluster for t in rows], bench) | {"chance": chance}
        every = Ratio([float(bool((r.said.explanation or "").strip())) for r in bench.rows])
        found |= values({"explained": every}, [r.cluster for r in bench.rows], bench)
        return Probed(found, tuple(trials("reason", rows, implied)))

    def _implied(self, rows: list[Told], bench: Bench) -> tuple[Sequence[Label], Deal, str]:
        """The label that each reason implies, the same for reasons dealt out, and who says so."""
        if self._reasoner:
            posts = [asked(t.row, t.reason) for t in rows]
            fixed: Sequence[Label] = by_reader(self._reasoner, posts, bench.media_root)
            return fixed, lambda order: [fixed[i] for i in order], self._reasoner.reader
        found, clusters = bags([t.reason for t in rows], terms(rows)), [t.row.cluster for t in rows]
        gold = _by_gold(bench)
        if gold is None:
            who = "naive Bayes of the reader's own reasons about other posts"
            found = packed(found)
            return learnt(found, rows, bench), lambda o: learnt(found[o], rows, bench), who
        guessed = gold.guess(found, clusters, bench.seed)
        who = "naive Bayes of gold's reasons about other posts"
        return guessed, lambda order: [guessed[i] for i in order], who


def _by_gold(bench: Bench) -> Taught | None:
    """Gold's reasons, their label names masked; None where there are too few to learn from."""
    rows = [(r, r.gold.explanation, r.gold.polarity) for r in bench.rows if r.gold]
    fit = [(r, why, label) for r, why, label in rows if why and label]
    if len(fit) < _ENOUGH:
        return None
    texts = [masked(why) for _, why, _ in fit]
    found = bags(texts, [r.aspect.term for r, _, _ in fit])
    return Taught(found, [y for _, _, y in fit], [r.cluster for r, _, _ in fit])
