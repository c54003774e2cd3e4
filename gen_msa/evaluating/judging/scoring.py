"""Marks of 1 to 5 for each explanation, one criterion at a time.

Knows nothing of what the marks add up to.

    score(judge, pairs, maker=reader.fingerprint())[0].scores["focus"].said
"""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from gen_msa.errors import UserError
from gen_msa.evaluating.judging.asking import Judge, Question, aspect_of, nothing_to_judge
from gen_msa.evaluating.judging.marks import Judgement, Mark
from gen_msa.metrics import Pair


def score(
    judge: Judge, pairs: Sequence[Pair], maker: Mapping[str, JsonValue] | None = None
) -> list[Judgement]:
    """The judge's marks of what the reader said: a `Judgement` for each pair in which it spoke.

    A row without an explanation is not asked about and has `empty` marks. `maker` is the reader's
    fingerprint. Raises `UserError` when the judge made the explanations itself.
    """
    judge.refuse_own(maker or {}, *{p.said.by for p in pairs if p.said})
    names = [_criterion(judge, name) for name in judge.settings.criteria]
    rows = [p for p in pairs if p.said]
    # Questions of one post lie side by side: backends read what they share once.
    questions = {
        (i, name): _question(judge, name, p)
        for i, p in enumerate(rows)
        if p.explanation
        for name in names
    }
    marks = dict(zip(questions, judge.marks(list(questions.values())), strict=True))
    return [
        _judgement(
            judge,
            p,
            {
                name.rpartition("/")[2]: marks.get((i, name))
                or nothing_to_judge(judge.prompt(name))
                for name in names
            },
        )
        for i, p in enumerate(rows)
    ]


def _criterion(judge: Judge, name: str) -> str:
    if not all(o.isdecimal() for o in judge.prompt(name).options):
        raise UserError(f"the options of prompt {name} are no numbers", mend="use it as pair=")
    return name


def _question(judge: Judge, name: str, pair: Pair) -> Question:
    answer = str(pair.answer) if pair.answer else "no sentiment that could be read"
    return judge.question(name, pair, {"answer": answer, "explanation": pair.explanation})


def _judgement(judge: Judge, pair: Pair, marks: Mapping[str, Mark]) -> Judgement:
    aspect = aspect_of(pair)
    return Judgement(
        post=pair.post.id,
        aspect=aspect.term,
        start=aspect.start,
        cluster=pair.cluster,
        by=pair.said.by if pair.said else "",
        judge=judge.settings.judge,
        revision=judge.revision,
        scores=dict(marks),
    )
