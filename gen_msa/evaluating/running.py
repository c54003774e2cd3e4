"""From posts with opinions to one `Result`: pairs, boards, comparisons, and the rows to show.

Every reader is measured on gold's rows in the same order. Knows nothing of files or pages.

    evaluate(Suite(data="opinions.jsonl"), gathered)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gen_msa import __version__
from gen_msa.errors import UserError, did_you_mean
from gen_msa.evaluating import probing, showing
from gen_msa.evaluating.chance import chance
from gen_msa.evaluating.comparing import compare, power_notes
from gen_msa.evaluating.gathering import Answers, Gathered
from gen_msa.evaluating.measuring import Board, Families, adds_up, definitions
from gen_msa.evaluating.pairing import Pairing, cluster
from gen_msa.evaluating.seeding import mean_of
from gen_msa.evaluating.suite import Suite
from gen_msa.metrics import Metric, Undefined, Whole, metrics
from gen_msa.metrics.calibration import bins
from gen_msa.metrics.labels import score
from gen_msa.metrics.statistics.bootstrap import Draws
from gen_msa.results import Bin, Definition, Published, ReaderResult, Result, Shown, Unread, Value
from gen_msa.types import Status

Probes = Mapping[str, Mapping[str, Mapping[str, Value]]]
"""Reader -> probe -> figure."""


def evaluate(
    plan: Suite,
    data: Gathered,
    answers: Sequence[Answers] = (),
    *,
    published: Sequence[Published] = (),
    probes: Probes | None = None,
) -> Result:
    """Measure every reader of `answers` (none: every reader in the data) and compare them.

    One that is called `plan.against` is what the others are held against, and is not measured.
    Raises `UserError` when nobody speaks, or `plan.against` says nothing.
    """
    held = [a for a in answers if plan.against not in (a.name, a.seed_of)]
    readers = held or speakers(plan, data)
    families = _families(plan)
    boards = _boards(plan, data, readers, families)
    draws = _draws(plan, boards)
    own = {a.name: boards[a.name] for a in readers if not a.seed_of}
    some = next(iter(boards.values()))
    measured = [_reader(plan, boards[a.name], a, draws) for a in readers]
    best, worst = _explanations(own)
    return Result(
        **_head(plan, data, some),
        definitions=(*definitions(families), *_of_probes(plan)),
        readers=tuple(_with_means(measured, readers)),
        comparisons=compare(own, plan.headline, draws, plan.correction) if draws else (),
        published=tuple(published),
        disagreements=showing.disagreements({n: b.pairs for n, b in own.items()}),
        best=best,
        worst=worst,
        probes={
            name: {**chance(board, plan.seed), **_plain((probes or {}).get(name, {}))}
            for name, board in own.items()
        },
        notes=(*data.notes, *_conflicts(some), *power_notes(own)),
    )


def check(plan: Suite, data: Gathered) -> None:
    """Raise what `evaluate` would of `data` before any of the suite's readers has read it."""
    _families(plan)
    taken = [e.shown for e in plan.readers if e.shown in data.readers()]
    if taken:
        raise UserError(f"{taken[0]!r} speaks in {data.name} already", mend="give it a `name`")
    if plan.against not in (*data.readers(), *(e.shown for e in plan.readers)):
        raise UserError(
            f"{plan.against!r} says nothing in {data.name}; there: {_known(data)}",
            mend="name one of them: --against NAME",
        )
    if not plan.readers:
        speakers(plan, data)


def _known(data: Gathered) -> str:
    return ", ".join(data.readers()) or "nobody"


def _families(plan: Suite) -> dict[str, Metric | Whole]:
    """Every family of the suite. Raises `UserError` for a wrong option, or a headline that the
    families do not measure row by row.
    """
    found = {name: metrics[name](**options) for name, options in plan.families().items()}
    for title in plan.headline:
        family, _, figure = title.partition(".")
        known = [f.name for f in found[family].figures]
        if figure not in known:
            raise UserError(f"headline {title}: no such figure", mend=did_you_mean(figure, known))
        if not adds_up(found[family]):
            raise UserError(
                f"headline {title}: {family} is no sum over rows, so that it cannot be tested",
                mend="name a figure of another family",
            )
    return found


def _head(plan: Suite, data: Gathered, board: Board) -> dict[str, Any]:
    """What the figures are about, and all they were drawn with."""
    return {
        "title": plan.title or data.name,
        "data": data.name,
        "data_sha256": data.sha256,
        "against": plan.against,
        "posts": len(data.examples),
        "rows": sum(p.gold is not None for p in board.pairs),
        "clusters": len({cluster(plan, e) for e in data.examples}),
        "clustered_by": plan.cluster,
        "rejected": data.rejected,
        "seed": plan.seed,
        "replicates": plan.replicates,
        "version": __version__,
    }


def speakers(plan: Suite, data: Gathered) -> list[Answers]:
    """Everyone in the data but `plan.against`. Raises `UserError` when that is nobody."""
    found = [name for name in data.readers() if name != plan.against]
    if not found:
        raise UserError(
            f"{data.name} holds nobody's opinions to hold against {plan.against!r}",
            mend="name a reader: --reader builtin",
        )
    return [Answers(name=n, file=Path(data.name), by=n, reader=n) for n in found]


def _boards(
    plan: Suite, data: Gathered, readers: Sequence[Answers], families: Families
) -> dict[str, Board]:
    if plan.against not in data.readers():
        raise UserError(f"{plan.against!r} says nothing in {data.name}; there: {_known(data)}")
    rows = Pairing(plan, data)
    return {a.name: Board(rows.of(a.name), families) for a in readers}


def _draws(plan: Suite, boards: Mapping[str, Board]) -> Draws | None:
    try:
        clusters = [b.clusters for b in boards.values()]
        return Draws(clusters, replicates=plan.replicates, seed=plan.seed)
    except Undefined:
        return None


def _reader(plan: Suite, board: Board, answers: Answers, draws: Draws | None) -> ReaderResult:
    rows = [p for p in board.pairs if p.gold is not None]
    decided = [(p.truth, p.answer) for p in rows if p.truth is not None]
    confusion = score([g for g, _ in decided], [a for _, a in decided]).confusion if decided else {}
    return ReaderResult(
        name=answers.name,
        reader=answers.reader or answers.name,
        facts=answers.facts,
        rows=len(rows),
        posts=len({p.post.id for p in rows}),
        silent=sum(p.said is None for p in rows),
        beside=len(board.pairs) - len(rows),
        figures=board.figures(draws),
        confusion={
            str(g): {str(a or "unread"): n for a, n in row.items()} for g, row in confusion.items()
        },
        calibration=_curve(board),
        levels=tuple(
            level for name in plan.slices for level in board.levels(name, plan.headline, draws)
        ),
        unread=tuple(_unread(board)),
        cost=answers.cost,
        costing=answers.costing,
        notes=tuple(f"{family}: {why}" for family, why in board.why.items()),
    )


def _curve(board: Board) -> tuple[Bin, ...]:
    """The calibration curve; nothing for a reader without probabilities."""
    try:
        return tuple(b for b in bins(board.pairs) if b.n)
    except Undefined:
        return ()


def _unread(board: Board) -> list[Unread]:
    """Answers without a polarity where gold has one, whole."""
    found = []
    for pair in board.pairs:
        if pair.truth is None or pair.answer is not None or pair.gold is None:
            continue
        said = pair.said
        status = str(said.status) if said else "silent"
        found.append(
            Unread(
                post=pair.post.id,
                aspect=pair.gold.aspect.term,
                status=str(Status.EMPTY) if status == Status.OK else status,
                raw=(said.raw if said else "") or "",
            )
        )
    return found


def _explanations(
    boards: Mapping[str, Board],
) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    best: list[Shown] = []
    worst: list[Shown] = []
    for name, board in boards.items():
        marks = {f: board.marks(f) for f in showing.SIGNS if f in board.rows}
        good, bad = showing.explanations(name, board.pairs, marks)
        best += good
        worst += bad
    return tuple(best), tuple(worst)


def _with_means(results: Sequence[ReaderResult], readers: Sequence[Answers]) -> list[ReaderResult]:
    """Each reader, its other seeds after it, and the mean of them all where there are any."""
    found: list[ReaderResult] = []
    for one, asked in zip(results, readers, strict=True):
        if asked.seed_of:
            continue
        of_it = [r for r, a in zip(results, readers, strict=True) if a.seed_of == one.name]
        found += [one, *of_it]
        if of_it:
            found.append(mean_of(one.name, [one, *of_it]))
    return found


def _of_probes(plan: Suite) -> list[Definition]:
    return [
        Definition(family=name, name=f.name, about=f.about, unit=f.unit, better=f.better)
        for name in plan.probed()
        for f in probing.probes[name].figures
    ]


def _plain(probes: Mapping[str, Mapping[str, Value]]) -> dict[str, dict[str, Value]]:
    return {name: dict(figures) for name, figures in probes.items()}


def _conflicts(board: Board) -> list[str]:
    n = sum(p.gold is not None and p.truth is None and p.gold.score is None for p in board.pairs)
    return [f"{n:,} rows have no gold polarity and are in no figure of labels"] * bool(n)
