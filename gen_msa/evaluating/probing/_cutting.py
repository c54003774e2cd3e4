"""Takes words out of a post and moves its aspects to where they stand then.

A word is a run of letters and digits, one character of a script without blanks, or one emoji;
punctuation is no word. The words of every listed aspect stay, or the question could not be asked.
A changed text has no parse any more: one that came with the post would tell the old text. Knows
nothing of readers.

    text = Words(post)
    text.without([True, False, ...])        # the post without the words marked
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from gen_msa.types import Aspect, Post

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’-][^\W{_UNSPACED}]+)*|[^\w\s]")

Span = tuple[int, int]


class Words:
    """The words of a post that can be taken out of it."""

    def __init__(self, post: Post) -> None:
        self.post = post
        stay = [(a.start, a.end) for a in post.aspects if a.start is not None and a.end is not None]
        self._stay = [s for s in stay if s[0] < s[1]]
        found = (m.span() for m in _WORD.finditer(post.text) if _is_word(m[0]))
        every = list(found)
        self.spans: list[Span] = [s for s in every if not _meets(s, self._stay)]
        """Start and end of each word that is no aspect's."""
        self._stay += [s for s in every if _meets(s, self._stay)]

    def marked(self, spans: Iterable[Span]) -> list[bool]:
        """For each word whether any of `spans` touches it."""
        spans = list(spans)
        return [_meets(word, spans) for word in self.spans]

    def told(self, mask: Sequence[bool]) -> str:
        """The marked words, for the log."""
        chosen = (s for s, m in zip(self.spans, mask, strict=True) if m)
        return " ".join(self.post.text[slice(*s)] for s in chosen)

    def without(self, mask: Sequence[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """The post without the marked words, and `aspect` as it stands there."""
        gone = [s for s, m in zip(self.spans, mask, strict=True) if m]
        kept = [True] * len(self.post.text)
        for begin, end in gone:
            kept[begin:end] = [False] * (end - begin)
        return self._cut(kept, aspect)

    def only(self, mask: Sequence[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """The post with nothing but the marked words and its aspects, and `aspect` as it stands."""
        stay = [s for s, m in zip(self.spans, mask, strict=True) if m]
        kept = [c.isspace() for c in self.post.text]
        for begin, end in [*stay, *self._stay]:
            kept[begin:end] = [True] * (end - begin)
        return self._cut(kept, aspect)

    def _cut(self, kept: list[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """Keep the marked characters; of blanks that then meet, the first; none at the ends."""
        text, named = self.post.text, [False] * len(self.post.text)
        for begin, end in self._stay:
            named[begin:end] = [True] * (end - begin)
        out: list[int] = []
        for i, char in enumerate(text):
            blank = char.isspace() and not named[i]
            if kept[i] and not (blank and (not out or text[out[-1]].isspace())):
                out.append(i)
        while out and text[out[-1]].isspace() and not named[out[-1]]:
            out.pop()
        place = {old: new for new, old in enumerate(out)}

        def moved(a: Aspect) -> Aspect:
            return a if a.start is None else a.model_copy(update={"start": place[a.start]})

        aspects = tuple(moved(a) if a.term else a for a in self.post.aspects)
        changed = "".join(text[i] for i in out)
        post = {**dict(self.post), "text": changed, "aspects": aspects, "parse": None}
        return Post.model_validate(post), moved(aspect) if aspect.term else aspect


def _is_word(found: str) -> bool:
    if len(found) > 1 or found.isalnum():
        return True
    return found == "_" or (ord(found) > 0x7F and unicodedata.category(found) == "So")


def _meets(span: Span, others: Iterable[Span]) -> bool:
    return any(span[0] < end and begin < span[1] for begin, end in others)
