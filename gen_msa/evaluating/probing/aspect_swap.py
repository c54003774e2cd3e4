"""Aspect swap: does the answer follow the aspect that is asked about, and not its name?

Two questions. Ask about another aspect of the same post, of opposite gold: is the answer now that
aspect's gold? The reader has answered both already, so this reads nothing. And give the aspect an
invented name, in the text and in the question: a label that flips was about the name. Knows nothing
of how a reader is told its aspect.

A reader blind to aspects is right about one of two opposites at best: its `directional_accuracy`
is at most 1/2, and its `followed` and `pull` are 0.

    probe({"aspect_swap": {"contrast": "different"}}, reader, settings, examples, readings, root)
"""

from collections import defaultdict
from typing import ClassVar, Literal

from gen_msa.evaluating.probing._bench import Bench, Change, Row, Trial
from gen_msa.evaluating.probing._figures import Ratio, values
from gen_msa.evaluating.probing._naming import renamed
from gen_msa.evaluating.probing.base import Probed, probes
from gen_msa.metrics import Figure, Undefined
from gen_msa.settings import Settings
from gen_msa.types import Polarity


class AspectSwapOptions(Settings):
    """Which aspects are a pair."""

    contrast: Literal["opposite", "different"] = "opposite"
    """`opposite`: one positive, one negative. `different`: any two unlike labels."""


@probes.register
class AspectSwap:
    """Compares the answers about two aspects, and reads posts whose aspect has another name."""

    Options: ClassVar[type[Settings]] = AspectSwapOptions
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure("directional_accuracy", "asked about the other aspect, answers its gold"),
        Figure("followed", "right about both: the label moved from one gold to the other's"),
        Figure("pull", "p(the other's gold): asked about it minus asked about this", "score"),
        Figure("rename_flip_rate", "another label under an invented name", "share", "low"),
        Figure("rename_dp", "p(c|x) - p(c|renamed)", "score", ""),
        Figure("rename_accuracy_drop", "accuracy minus accuracy once renamed", "share", ""),
    )

    def __init__(self, options: AspectSwapOptions) -> None:
        self._contrast = options.contrast

    def __call__(self, bench: Bench) -> Probed:
        """Raises `Undefined` where no aspect has a rival and none stands in its text."""
        pairs = self._pairs(bench)
        swaps = [_swapped(a, b) for a, b in pairs]
        changes = _renamings(bench)
        if not pairs and not changes:
            raise Undefined("no post has an aspect that stands in its text, or two of them")
        renames = bench.ask(changes)
        columns: dict[str, list[float | None]] = {
            "directional_accuracy": [float(b.label is b.truth) for _, b in pairs],
            "followed": [float(a.label is a.truth and b.label is b.truth) for a, b in pairs],
            "pull": [_pull(a, b) for a, b in pairs],
        }
        why = f"pairs of {self._contrast} gold"
        ratios = {k: Ratio(v, note=why) for k, v in columns.items()}
        found = values(ratios, [a.cluster for a, _ in pairs], bench)
        lost = sum(bool(t.note) for t in renames)
        note = f"{lost} of {len(renames)} could not be read" if lost else ""
        columns = {
            "rename_flip_rate": [t.flipped for t in renames],
            "rename_dp": [t.dp for t in renames],
            "rename_accuracy_drop": [t.lost for t in renames],
        }
        ratios = {k: Ratio(v, note=note) for k, v in columns.items()}
        found |= values(ratios, [c.row.cluster for c in changes], bench)
        return Probed(found, (*swaps, *renames))

    def _pairs(self, bench: Bench) -> list[tuple[Row, Row]]:
        """Each row with one other of its post whose gold is the contrary, drawn by the seed."""
        posts = defaultdict(list)
        for row in bench.rows:
            if row.truth is not None:
                posts[row.post.id].append(row)
        options = [(a, self._rivals(a, posts[a.post.id])) for some in posts.values() for a in some]
        fit = {id(a): others for a, others in options if others}
        chosen = bench.some([r for r in bench.rows if id(r) in fit])
        return [(a, bench.dice("swap", a.post.id, a.aspect).choice(fit[id(a)])) for a in chosen]

    def _rivals(self, row: Row, others: list[Row]) -> list[Row]:
        unlike = [r for r in others if r.truth is not row.truth]
        if self._contrast == "different":
            return unlike
        sided = (Polarity.POSITIVE, Polarity.NEGATIVE)
        return [r for r in unlike if r.truth in sided and row.truth in sided]


def _pull(a: Row, b: Row) -> float | None:
    if a.said.probs is None or b.said.probs is None or b.truth is None:
        return None
    return b.said.probs.get(b.truth, 0.0) - a.said.probs.get(b.truth, 0.0)


def _swapped(a: Row, b: Row) -> Trial:
    return Trial(
        variant="swap",
        post=a.post.id,
        aspect=a.aspect.term,
        start=a.aspect.start,
        told=f"{b.aspect.term}, whose gold is {b.truth}",
        gold=a.truth,
        before=a.label,
        after=b.label,
        p_before=a.said.probability,
        p_after=b.said.probs.get(a.label) if b.said.probs else None,
    )


def _renamings(bench: Bench) -> list[Change]:
    changes = []
    for row in bench.rows:
        done = renamed(row.post, row.aspect, bench.dice("rename", row.post.id, row.aspect))
        if done is not None:
            post, aspect = done
            changes.append(Change(row, "renamed", post, aspect, aspect.term))
    chosen = {id(r) for r in bench.some([c.row for c in changes])}
    return [c for c in changes if id(c.row) in chosen]
