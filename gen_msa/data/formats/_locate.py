"""Where the terms a user names stand in a text: the first exact mention not yet taken.

Knows nothing of tokens or case: a term that does not stand there verbatim gets no place, and is
never moved to something similar.

    locate("good food, bad food", ["food", "food", "wine"])   # starts 5, 15, None
"""

from collections.abc import Iterable

from gen_msa.types import Aspect


def locate_aspects(text: str, terms: Iterable[str]) -> tuple[Aspect, ...]:
    """An aspect for each term. The same term again means its next mention; `start=None` after that.

    A term listed more often than it is mentioned gives equal aspects, which `Post` refuses.
    """
    next_offsets: dict[str, int] = {}
    aspects = []
    for term in terms:
        at = text.find(term, next_offsets.get(term, 0)) if term else -1
        if at >= 0:
            next_offsets[term] = at + len(term)
        elif term in next_offsets:
            next_offsets[term] = len(text) + 1
        aspects.append(Aspect(term=term, start=at if at >= 0 else None))
    return tuple(aspects)
