"""Gives an aspect a name that means nothing, in the text and in the question.

Knows nothing of readers.

    renamed(post, post.aspects[0], random.Random(0))    # "The Vobe is awful", "Vobe"
"""

import random
import re

from gen_msa.types import Aspect, Post

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_MAX_LETTERS = 10
"""Letters of an invented word."""


def invent_name(term: str, rng: random.Random) -> str:
    """An invented name with the words, digits and capitals of `term`, and letters for letters."""
    return re.sub(r"[^\W\d_]+", lambda m: _invent_word(m[0], rng), term)


def rename_aspect(post: Post, aspect: Aspect, rng: random.Random) -> tuple[Post, Aspect] | None:
    """The post with each mention of `aspect` renamed, and the aspect's new form.

    None when it does not stand in the text, has no letter, or shares letters with another aspect.
    Mentions within other words or other aspects are left alone. The parse goes.
    """
    rivals = [
        (a.start, a.start + len(a.term))
        for a in post.aspects
        if a.start is not None and a != aspect
    ]
    name = invent_name(aspect.term, rng)
    if aspect.start is None or name == aspect.term or _overlaps_any(aspect.start, aspect, rivals):
        return None
    matches = re.finditer(rf"(?<!\w){re.escape(aspect.term)}(?!\w)", post.text)
    starts = sorted({aspect.start, *(m.start() for m in matches)})
    starts = [s for s in starts if not _overlaps_any(s, aspect, rivals)]
    text, length_change, end = "", len(name) - len(aspect.term), 0
    for start in starts:
        text += post.text[end:start] + name
        end = start + len(aspect.term)
    text += post.text[end:]

    def shift_aspect(a: Aspect) -> Aspect:
        if a.start is None:
            return a
        start = a.start + length_change * sum(s < a.start for s in starts)
        return Aspect(term=name if a == aspect else a.term, start=start)

    aspects = tuple(dict.fromkeys(shift_aspect(a) for a in post.aspects))
    changed_post = Post.model_validate({**dict(post), "text": text, "aspects": aspects, "parse": None})
    return changed_post, shift_aspect(aspect)


def _overlaps_any(start: int, aspect: Aspect, spans: list[tuple[int, int]]) -> bool:
    end = start + len(aspect.term)
    return any(start < e and b < end for b, e in spans)


def _invent_word(word: str, rng: random.Random) -> str:
    length = min(max(len(word), 3), _MAX_LETTERS)
    letters = "".join(rng.choice(_VOWELS if i % 2 else _CONSONANTS) for i in range(length))
    if word.isupper() and len(word) > 1:
        return letters.upper()
    return letters.capitalize() if word[0].isupper() else letters
