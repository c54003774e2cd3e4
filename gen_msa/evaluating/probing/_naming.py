"""Gives an aspect a name that means nothing, in the text and in the question.

Knows nothing of readers.

    renamed(post, post.aspects[0], random.Random(0))    # "The Vobe is awful", "Vobe"
"""

import random
import re

from gen_msa.types import Aspect, Post

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_LONGEST = 10
"""Letters of an invented word."""


def nonsense(term: str, dice: random.Random) -> str:
    """An invented name with the words, digits and capitals of `term`, and letters for letters."""
    return re.sub(r"[^\W\d_]+", lambda m: _word(m[0], dice), term)


def renamed(post: Post, aspect: Aspect, dice: random.Random) -> tuple[Post, Aspect] | None:
    """The post with each mention of `aspect` renamed, and the aspect's new form.

    None when it does not stand in the text, has no letter, or shares letters with another aspect.
    Mentions within other words or other aspects are left alone. The parse goes.
    """
    rivals = [
        (a.start, a.start + len(a.term))
        for a in post.aspects
        if a.start is not None and a != aspect
    ]
    name = nonsense(aspect.term, dice)
    if aspect.start is None or name == aspect.term or _meets(aspect.start, aspect, rivals):
        return None
    found = re.finditer(rf"(?<!\w){re.escape(aspect.term)}(?!\w)", post.text)
    starts = sorted({aspect.start, *(m.start() for m in found)})
    starts = [s for s in starts if not _meets(s, aspect, rivals)]
    text, grown, end = "", len(name) - len(aspect.term), 0
    for start in starts:
        text += post.text[end:start] + name
        end = start + len(aspect.term)
    text += post.text[end:]

    def moved(a: Aspect) -> Aspect:
        if a.start is None:
            return a
        start = a.start + grown * sum(s < a.start for s in starts)
        return Aspect(term=name if a == aspect else a.term, start=start)

    aspects = tuple(dict.fromkeys(moved(a) for a in post.aspects))
    changed = Post.model_validate({**dict(post), "text": text, "aspects": aspects, "parse": None})
    return changed, moved(aspect)


def _meets(start: int, aspect: Aspect, spans: list[tuple[int, int]]) -> bool:
    end = start + len(aspect.term)
    return any(start < e and b < end for b, e in spans)


def _word(word: str, dice: random.Random) -> str:
    length = min(max(len(word), 3), _LONGEST)
    letters = "".join(dice.choice(_VOWELS if i % 2 else _CONSONANTS) for i in range(length))
    if word.isupper() and len(word) > 1:
        return letters.upper()
    return letters.capitalize() if word[0].isupper() else letters
