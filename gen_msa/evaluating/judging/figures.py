"""What a judge's marks add up to, and whether people agree with them.

Means with cluster-robust intervals, rates of answers that could not be read, agreement with human
marks. Every figure of a criterion that no human marks stand beside is noted `uncalibrated`. Knows
nothing of backends or prompts.

    figures(judgements)["focus"].note          # 'uncalibrated'
    duel_figures(duels)["swap_agreement"].value
"""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

from gen_msa.evaluating.judging.agreement import krippendorff, weighted_kappa
from gen_msa.evaluating.judging.dueling import Duel
from gen_msa.evaluating.judging.human import HumanMark
from gen_msa.evaluating.judging.marks import Judgement, Mark
from gen_msa.metrics.statistics.wilson import Z95, wilson
from gen_msa.results import Value
from gen_msa.types import Status

UNCALIBRATED = "uncalibrated"

_NO_SPREAD = 1e-12


def figures(judgements: Sequence[Judgement], human: Sequence[HumanMark] = ()) -> dict[str, Value]:
    """Figures of one reader's explanations.

    For each criterion its mean mark (1 to 5), and with human marks `kappa.CRITERION` (quadratic
    weighted, judge against the mean of the raters, both rounded) and `alpha.CRITERION`
    (Krippendorff, ordinal, the judge as one more rater). `explained`: rows with an explanation.
    `unread`: answers of the judge that could not be read, of those it was asked for. `failed`:
    questions the backend did not answer.
    """
    rows = [(j.cluster, m) for j in judgements for m in j.scores.values()]
    asked = [(cluster, m) for cluster, m in rows if m.asked]
    out: dict[str, Value] = {}
    agreed: dict[str, Value] = {}
    for name in dict.fromkeys(name for j in judgements for name in j.scores):
        agreement = _agreement(name, judgements, human)
        agreed |= agreement
        out[name] = _mean_mark(name, judgements, _note(agreement))
    note = UNCALIBRATED if not agreed else ""
    return {
        **out,
        **agreed,
        "explained": _share(((c, m.asked) for c, m in rows), note),
        "unread": _share(((c, m.status not in (Status.OK, Status.ERROR)) for c, m in asked), note),
        "failed": _share(((c, m.status is Status.ERROR) for c, m in asked), note),
    }


def duel_figures(duels: Sequence[Duel]) -> dict[str, Value]:
    """`a`, `b`, `tie` and `unread`: shares of rows, which sum to 1. `swap_agreement`: rows read in
    both orders in which both name the same. `first`: answers that choose the reason shown first, of
    answers that choose one; a judge without a bent to a place has 0.5. `failed`: answers that the
    backend did not give.
    """
    read = [d for d in duels if d.winner != "unread"]
    marks = [(d.cluster, m) for d in duels for m in (d.forth, d.back)]
    won = {
        name: _share(((d.cluster, d.winner == name) for d in duels), UNCALIBRATED)
        for name in ("a", "b", "tie", "unread")
    }
    same = ((d.cluster, d.choices[0] == d.choices[1]) for d in read)
    first = ((c, m.said == "A") for c, m in marks if m.said in ("A", "B"))
    failed = ((c, m.status is Status.ERROR) for c, m in marks)
    return {
        **won,
        "swap_agreement": _share(same, UNCALIBRATED),
        "first": _share(first, UNCALIBRATED),
        "failed": _share(failed, UNCALIBRATED),
    }


def _note(agreement: Mapping[str, Value]) -> str:
    if not agreement:
        return UNCALIBRATED
    return "; ".join(
        f"{name.partition('.')[0]} {'undefined' if v.value is None else f'{v.value:.2f}'}"
        f" with people on {v.n} rows"
        for name, v in agreement.items()
    )


def _mean_mark(name: str, judgements: Sequence[Judgement], note: str) -> Value:
    marked = [(j.cluster, j.scores[name]) for j in judgements if name in j.scores]
    some = [(c, m.score) for c, m in marked if m.score is not None]
    expected = sum(m.probs is not None for _, m in marked)
    how = f"expected over probabilities in {expected} of {len(some)}" if some else ""
    return _mean(some, "; ".join(filter(None, [how, note])))


def _agreement(
    name: str, judgements: Sequence[Judgement], human: Sequence[HumanMark]
) -> dict[str, Value]:
    """Kappa and alpha of one criterion; nothing where no human mark is about a judged row."""
    about: list[tuple[float, dict[str, float]]] = []
    given = [h for h in human if name in h.scores]
    by_post: dict[str, list[HumanMark]] = {}
    for h in given:
        by_post.setdefault(h.post, []).append(h)
    for j in judgements:
        mark = j.scores.get(name, Mark(status=Status.EMPTY, prompt=""))
        found = {
            h.rater: float(h.scores[name])
            for h in by_post.get(j.post, ())
            if h.is_about(j.post, j.aspect, j.start, j.by)
        }
        if found and mark.score is not None:
            about.append((float(round(mark.score)), found))
    if not about:
        return {}
    people = [float(round(sum(found.values()) / len(found))) for _, found in about]
    raters = sorted({rater for _, found in about for rater in found})
    table = [[found.get(rater) for _, found in about] for rater in raters]
    kappa = weighted_kappa([score for score, _ in about], people)
    alpha = krippendorff([[score for score, _ in about], *table])
    return {
        f"kappa.{name}": _plain(kappa, len(about), "quadratic weights"),
        f"alpha.{name}": _plain(alpha, len(about), f"ordinal; {len(raters)} raters and the judge"),
    }


def _plain(value: float | None, n: int, note: str) -> Value:
    undefined = "" if value is not None else "undefined: all marks are the same; "
    return Value(value=value, n=n, note=undefined + note)


def _share(rows: Iterable[tuple[str, bool]], note: str) -> Value:
    hits = [(cluster, float(hit)) for cluster, hit in rows]
    found = _mean(hits, note)
    if found.value in (0.0, 1.0):
        # Without spread a normal interval is a point; Wilson's, with a cluster for a row, is not.
        clusters = len({cluster for cluster, _ in hits})
        low, high = wilson(round(found.value * clusters), clusters)
        how = f"Wilson, {clusters} clusters"
        return found.model_copy(update={"low": low, "high": high, "how": how})
    if found.low is None or found.high is None:
        return found
    return found.model_copy(update={"low": max(0.0, found.low), "high": min(1.0, found.high)})


def _mean(rows: Sequence[tuple[str, float]], note: str) -> Value:
    """The mean with an interval that lets rows of one cluster depend on each other.

    None where there is a single cluster, or no spread to tell it from.
    """
    if not rows:
        return Value(value=None, n=0, note="; ".join(filter(None, ["undefined: no row", note])))
    n = len(rows)
    mean = sum(x for _, x in rows) / n
    sums: dict[str, float] = {}
    for cluster, x in rows:
        sums[cluster] = sums.get(cluster, 0.0) + x - mean
    half = 0.0
    if len(sums) > 1:
        half = Z95 * sqrt(len(sums) / (len(sums) - 1) * sum(s * s for s in sums.values())) / n
    if half < _NO_SPREAD:
        return Value(value=mean, n=n, note=note)
    how = f"cluster-robust normal, {len(sums)} clusters"
    return Value(value=mean, n=n, low=mean - half, high=mean + half, how=how, note=note)
