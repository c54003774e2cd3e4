"""Erasure: does the answer hang on the words that the reader quotes as its evidence?

ERASER (DeYoung et al., ACL 2020). Comprehensiveness = p(c|x) - p(c|x without the quoted words);
sufficiency = p(c|x) - p(c|the quoted words alone); c is the label said of the whole post x. Any
loss of words moves a reader, so the same is done with as many other words in runs of the same
lengths: the pattern of the quoted words is moved on round the text by a random step (`draws` times,
mean). The difference, `..._gain`, is the figure that counts. Aspects stay in the text. Evidence has
no order, so there is no AOPC. Knows nothing of how evidence was found.

    probe({"erasure": {"draws": 5}}, reader, settings, examples, readings, media_root)
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from gen_msa.evaluating.probing._bench import Bench, Change, Row, Trial
from gen_msa.evaluating.probing._cutting import Words
from gen_msa.evaluating.probing._figures import Ratio, mean, minus, values
from gen_msa.evaluating.probing.base import Probed, probes
from gen_msa.metrics import Figure, Undefined
from gen_msa.settings import Settings


class ErasureOptions(Settings):
    """How much is read."""

    draws: int = Field(default=3, ge=1, le=100)
    """Random deletions for each row; fewer where the text has not so many words."""


@probes.register
class Erasure:
    """Reads each post without its evidence, with nothing else, and the same with other words."""

    Options: ClassVar[type[Settings]] = ErasureOptions
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure("comprehensiveness_gain", "comprehensiveness beyond other words'", "score"),
        Figure("sufficiency_gain", "other words' sufficiency minus the evidence's", "score"),
        Figure("comprehensiveness", "p(c|x) - p(c|x without evidence)", "score"),
        Figure("comprehensiveness_random", "the same for as many other words", "score", ""),
        Figure("sufficiency", "p(c|x) - p(c|evidence alone)", "score", "low"),
        Figure("sufficiency_random", "the same for as many other words", "score", ""),
        Figure("evidenced", "labelled rows that quote words of the post"),
    )

    def __init__(self, options: ErasureOptions) -> None:
        self._draws = options.draws

    def __call__(self, bench: Bench) -> Probed:
        """Raises `Undefined` for a reader without probabilities or without evidence."""
        sure = [r for r in bench.rows if r.said.probability is not None]
        if not sure:
            raise Undefined("the reader gives no probabilities")
        masks = {id(r): _evidence(r) for r in sure}
        fit = [r for r in sure if any(masks[id(r)])]
        if not fit:
            raise Undefined("the reader quotes no word of any post besides the aspect")
        rows = bench.some([r for r in fit if not all(masks[id(r)])])
        if not rows:
            raise Undefined("in every post that has evidence it is all there is besides the aspect")
        changes = [list(_changes(r, masks[id(r)], self._draws, bench)) for r in rows]
        trials = iter(bench.ask([c for some in changes for c in some]))
        by_row = [[next(trials) for _ in some] for some in changes]
        note = f"{len(sure) - len(fit)} of {len(sure)} rows quote no word besides the aspect"
        ratios = {k: Ratio(v, note=note) for k, v in _columns(by_row).items()}
        found = values(ratios, [r.cluster for r in rows], bench)
        quoted = Ratio([float(any(masks[id(r)])) for r in sure])
        found |= values({"evidenced": quoted}, [r.cluster for r in sure], bench)
        ordered = {f.name: found[f.name] for f in self.figures}
        return Probed(ordered, tuple(t for some in by_row for t in some))


def _evidence(row: Row) -> list[bool]:
    spans = [
        (e.start, e.start + len(e.quote))
        for e in row.said.evidence
        if e.source == "text" and e.start is not None
    ]
    return Words(row.post).marked(spans) if spans else []


def _changes(row: Row, mask: list[bool], draws: int, bench: Bench) -> Iterator[Change]:
    """The evidence erased and kept, then the same with the pattern moved on round the text."""
    words = Words(row.post)
    steps = list(range(1, len(mask)))
    bench.dice("erasure", row.post.id, row.aspect).shuffle(steps)
    moved = [mask[-step:] + mask[:-step] for step in steps]
    others = [m for m in moved if m != mask][:draws]
    for end, m in [("", mask), *(("_random", o) for o in others)]:
        for name, cut in (("erased", words.without), ("kept", words.only)):
            post, aspect = cut(m, row.aspect)
            yield Change(row, name + end, post, aspect, words.told(m))


def _columns(by_row: list[list[Trial]]) -> dict[str, list[float | None]]:
    drops = {
        name: [mean([t.dp for t in some if t.variant == name]) for some in by_row]
        for name in ("erased", "kept", "erased_random", "kept_random")
    }
    return {
        "comprehensiveness": drops["erased"],
        "comprehensiveness_random": drops["erased_random"],
        "comprehensiveness_gain": minus(drops["erased"], drops["erased_random"]),
        "sufficiency": drops["kept"],
        "sufficiency_random": drops["kept_random"],
        "sufficiency_gain": minus(drops["kept_random"], drops["kept"]),
    }
