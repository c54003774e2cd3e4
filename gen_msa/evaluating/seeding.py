"""The mean row of a reader that was trained with several seeds. Each seed's own row stays whole.

The figures of one seed all come from its one checkpoint; the mean row says how far they scatter.

    mean_of("builtin", [first, second, third])
"""

from collections.abc import Sequence

from gen_msa.metrics.statistics.seeds import spread
from gen_msa.results import ReaderResult, Value


def mean_of(name: str, seeds: Sequence[ReaderResult]) -> ReaderResult:
    """Mean and standard deviation of every figure over `seeds`, each seed's value beside it."""
    first = seeds[0]
    figures = {
        family: {figure: _mean([s.figures[family][figure] for s in seeds]) for figure in of_family}
        for family, of_family in first.figures.items()
    }
    return ReaderResult(
        name=f"{name}, mean of {len(seeds)} seeds",
        reader=first.reader,
        rows=first.rows,
        posts=first.posts,
        figures=figures,
        notes=(f"each seed is one checkpoint: {', '.join(s.name for s in seeds)}",),
    )


def _mean(values: Sequence[Value]) -> Value:
    known = [v.value for v in values if v.value is not None]
    if len(known) < len(values):
        note = f"undefined for {len(values) - len(known)} of {len(values)} seeds"
        return Value(value=None, n=values[0].n, note=note, seeds=tuple(known))
    found = spread(known)
    note = f"sd {found.sd:.4f} over {found.n} seeds" if found.sd is not None else ""
    return Value(value=found.mean, n=values[0].n, note=note, seeds=tuple(known))
