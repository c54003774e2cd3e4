"""Which of two readers explains better: asked twice, with the two in swapped places.

A judge that names the same reader both times has chosen it; one that changes its mind with the
order has not, and it is a tie. Knows nothing of which reader is right about the label.

    duel(judge, pairs_of_a, pairs_of_b)[0].winner      # 'a', 'b', 'tie' or 'unread'
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import JsonValue

from gen_msa.errors import UserError
from gen_msa.evaluating.judging.asking import Judge, Question, aspect_of
from gen_msa.evaluating.judging.marks import Mark
from gen_msa.metrics import Pair
from gen_msa.types import Noun

Winner = Literal["a", "b", "tie", "unread"]
_CHOICES = ("A", "B", "tie")


class Duel(Noun):
    """Two explanations of one aspect, and the judge's choice in both orders."""

    post: str
    aspect: str
    start: int | None = None
    cluster: str
    a: str
    """Reader a."""
    b: str
    judge: str
    revision: str
    forth: Mark
    """Its answer with reader a shown first, as A."""
    back: Mark
    """Its answer with reader b shown first, as A."""

    @property
    def choices(self) -> tuple[Winner, Winner]:
        """Who is chosen in each order, `unread` where the answer could not be read."""
        forth: dict[str | None, Winner] = {"A": "a", "B": "b", "tie": "tie"}
        back: dict[str | None, Winner] = {"A": "b", "B": "a", "tie": "tie"}
        return forth.get(self.forth.said, "unread"), back.get(self.back.said, "unread")

    @property
    def winner(self) -> Winner:
        """`unread` when either answer is; `tie` when the two differ."""
        forth, back = self.choices
        if "unread" in (forth, back):
            return "unread"
        return forth if forth == back else "tie"


def duel(
    judge: Judge,
    a: Sequence[Pair],
    b: Sequence[Pair],
    makers: Sequence[Mapping[str, JsonValue]] = (),
) -> list[Duel]:
    """One `Duel` for each row that both readers explain; the rows of `a` and `b` are the same.

    Raises `UserError` when the judge is one of the two, `ValueError` when the rows differ.
    """
    if [_row(p) for p in a] != [_row(p) for p in b]:
        raise ValueError("the two readers' rows are not the same")
    judge.refuse_own(*makers, *{p.said.by for p in (*a, *b) if p.said})
    if judge.prompt(judge.settings.pair).options != _CHOICES:
        raise UserError(f"prompt {judge.settings.pair} must have the options A, B, tie")
    both = [(x, y) for x, y in zip(a, b, strict=True) if x.explanation and y.explanation]
    questions = [q for x, y in both for q in (_question(judge, x, y), _question(judge, y, x))]
    marks = judge.marks(questions)
    return [
        _duel(judge, x, y, forth, back)
        for (x, y), forth, back in zip(both, marks[::2], marks[1::2], strict=True)
    ]


def _row(pair: Pair) -> tuple[str, str, int | None]:
    aspect = aspect_of(pair)
    return pair.post.id, aspect.term, aspect.start


def _question(judge: Judge, first: Pair, second: Pair) -> Question:
    shown = {
        "answer_a": str(first.answer or "no sentiment that could be read"),
        "reason_a": first.explanation,
        "answer_b": str(second.answer or "no sentiment that could be read"),
        "reason_b": second.explanation,
    }
    return judge.question(judge.settings.pair, first, shown)


def _duel(judge: Judge, a: Pair, b: Pair, forth: Mark, back: Mark) -> Duel:
    post, aspect, start = _row(a)
    return Duel(
        post=post,
        aspect=aspect,
        start=start,
        cluster=a.cluster,
        a=a.said.by if a.said else "",
        b=b.said.by if b.said else "",
        judge=judge.settings.judge,
        revision=judge.revision,
        forth=forth,
        back=back,
    )
