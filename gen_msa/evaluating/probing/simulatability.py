"""Simulatability: is the reader's label easier to foresee from its explanation than from its input?

A simulator guesses the reader's label (not gold) from the explanation alone, the names of labels
masked, and from the post alone; `gain` is the difference. An explanation that says the label in
other words is easy to read and explains nothing: `quotes_gain` is the same for the quoted words
alone, over rows that quote some. The simulator is a reader of your choice,
or the one built in: naive Bayes on words, taught by the reader's own answers to other posts. It
reads words, not pictures, and is weak on few rows; its figures compare readers on the same rows and
are no absolute worth. Intervals are about the rows, not about another fit of the simulator; the
range of `chance` is where 95 % of the deals of reasons to other rows lie. Knows nothing of gold.

    probe({"simulatability": {"simulator": {"reader": "builtin"}}}, reader, settings, ...)
"""

from collections.abc import Sequence
from typing import ClassVar

from gen_msa.evaluating.probing._bench import Bench, Row
from gen_msa.evaluating.probing._figures import Ratio, minus, values
from gen_msa.evaluating.probing._guessing import bags, packed
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
from gen_msa.readers import ReaderSettings
from gen_msa.results import Value
from gen_msa.settings import Settings


class SimulatabilityOptions(Settings):
    """Who simulates."""

    simulator: ReaderSettings | None = None
    """A reader; None: the model that is built in."""


@probes.register
class Simulatability:
    """Guesses labels from explanations and from posts."""

    Options: ClassVar[type[Settings]] = SimulatabilityOptions
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure("gain", "right guesses from the masked explanation minus from the post"),
        Figure("from_explanation", "labels guessed right from the masked explanation alone"),
        Figure("from_input", "labels guessed right from the post alone", "share", ""),
        Figure("quotes_gain", "right guesses from the quoted words alone minus from the post"),
        Figure("from_quotes", "labels guessed right from the quoted words alone"),
        Figure("chance", "right guesses from explanations of other rows", "share", ""),
        Figure("explained", "labelled rows that have an explanation"),
    )

    def __init__(self, options: SimulatabilityOptions) -> None:
        self._simulator = options.simulator

    def __call__(self, bench: Bench) -> Probed:
        """Raises `Undefined` without explanations, or where only one label is said."""
        rows = told(bench, few=self._simulator is not None)
        labels = [t.row.label for t in rows]
        reasons, inputs, chance = self._guessed(rows, bench)
        cited = [Told(t.row, quoted(t.row)) for t in rows]
        quotes = self._read(cited, bench)
        hits = [float(g is y) for g, y in zip(reasons, labels, strict=True)]
        plain = [float(g is y) for g, y in zip(inputs, labels, strict=True)]
        who = self._simulator.reader if self._simulator else "naive Bayes of other posts' answers"
        note = f"simulator: {who}"
        # A row that quotes nothing would give its label away by that alone.
        pairs = zip(quotes, labels, cited, strict=True)
        cited_hits: list[float | None] = [float(g is y) if t.reason else None for g, y, t in pairs]
        ratios = {
            "gain": Ratio(minus(hits, plain), note=note),
            "from_explanation": Ratio(hits, note=note),
            "from_input": Ratio(plain, note=note),
            "quotes_gain": Ratio(minus(cited_hits, plain), note=note),
            "from_quotes": Ratio(cited_hits, note=note),
        }
        found = values(ratios, [t.row.cluster for t in rows], bench) | {"chance": chance}
        every = Ratio([float(bool((r.said.explanation or "").strip())) for r in bench.rows])
        found |= values({"explained": every}, [r.cluster for r in bench.rows], bench)
        log = trials("explanation", rows, reasons) + trials("input", rows, inputs)
        return Probed(found, tuple(log))

    def _guessed(
        self, rows: list[Told], bench: Bench
    ) -> tuple[Sequence[Label], Sequence[Label], Value]:
        """Guesses from explanations, guesses from posts, and how often reasons dealt anew hit."""
        labels = [t.row.label for t in rows]
        alone = self._read(rows, bench)
        if self._simulator:
            posts = [t.row.post.model_copy(update={"aspects": (t.row.aspect,)}) for t in rows]
            whole: Sequence[Label] = by_reader(self._simulator, posts, bench.media_root)
            _, chance = dealt(labels, lambda order: [alone[i] for i in order], bench)
            return alone, whole, chance
        reasons = packed(bags([t.reason for t in rows], terms(rows)))
        _, chance = dealt(labels, lambda order: learnt(reasons[order], rows, bench), bench)
        texts = bags([t.row.post.text for t in rows], terms(rows))
        return alone, learnt(texts, rows, bench), chance

    def _read(self, rows: list[Told], bench: Bench) -> Sequence[Label]:
        """The label that each text implies, the post unseen."""
        if self._simulator:
            posts = [asked(t.row, t.reason) for t in rows]
            return by_reader(self._simulator, posts, bench.media_root)
        return learnt(bags([t.reason for t in rows], terms(rows)), rows, bench)


def quoted(row: Row) -> str:
    """The words of the post that the reader quotes; "" where it quotes none."""
    return " ... ".join(e.quote for e in row.said.evidence if e.start is not None)
