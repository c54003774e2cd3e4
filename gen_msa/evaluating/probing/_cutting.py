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

CharSpan = tuple[int, int]


class WordEraser:
    """The words of a post that can be taken out of it."""

    def __init__(self, post: Post) -> None:
        self.post = post
        aspect_spans = [(a.start, a.end) for a in post.aspects if a.start is not None and a.end is not None]
        self._protected = [s for s in aspect_spans if s[0] < s[1]]
        candidates = (m.span() for m in _WORD.finditer(post.text) if _is_word(m[0]))
        word_spans = list(candidates)
        self.spans: list[CharSpan] = [s for s in word_spans if not _overlaps_any(s, self._protected)]
        """Start and end of each word that is no aspect's."""
        self._protected += [s for s in word_spans if _overlaps_any(s, self._protected)]

    def mask_for(self, spans: Iterable[CharSpan]) -> list[bool]:
        """For each word whether any of `spans` touches it."""
        spans = list(spans)
        return [_overlaps_any(word, spans) for word in self.spans]

    def masked_text(self, mask: Sequence[bool]) -> str:
        """The marked words, for the log."""
        selected = (s for s, m in zip(self.spans, mask, strict=True) if m)
        return " ".join(self.post.text[slice(*s)] for s in selected)

    def erase(self, mask: Sequence[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """The post without the marked words, and `aspect` as it stands there."""
        erased = [s for s, m in zip(self.spans, mask, strict=True) if m]
        keep_mask = [True] * len(self.post.text)
        for begin, end in erased:
            keep_mask[begin:end] = [False] * (end - begin)
        return self._apply(keep_mask, aspect)

    def keep(self, mask: Sequence[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """The post with nothing but the marked words and its aspects, and `aspect` as it stands."""
        kept_spans = [s for s, m in zip(self.spans, mask, strict=True) if m]
        keep_mask = [c.isspace() for c in self.post.text]
        for begin, end in [*kept_spans, *self._protected]:
            keep_mask[begin:end] = [True] * (end - begin)
        return self._apply(keep_mask, aspect)

    def _apply(self, keep_mask: list[bool], aspect: Aspect) -> tuple[Post, Aspect]:
        """Keep the marked characters; of blanks that then meet, the first; none at the ends."""
        text, protected = self.post.text, [False] * len(self.post.text)
        for begin, end in self._protected:
            protected[begin:end] = [True] * (end - begin)
        indices: list[int] = []
        for i, char in enumerate(text):
            is_space = char.isspace() and not protected[i]
            if keep_mask[i] and not (is_space and (not indices or text[indices[-1]].isspace())):
                indices.append(i)
        while indices and text[indices[-1]].isspace() and not protected[indices[-1]]:
            indices.pop()
        new_index = {old: new for new, old in enumerate(indices)}

        def shift_aspect(a: Aspect) -> Aspect:
            return a if a.start is None else a.model_copy(update={"start": new_index[a.start]})

        aspects = tuple(shift_aspect(a) if a.term else a for a in self.post.aspects)
        changed_text = "".join(text[i] for i in indices)
        post = {**dict(self.post), "text": changed_text, "aspects": aspects, "parse": None}
        return Post.model_validate(post), shift_aspect(aspect) if aspect.term else aspect


def _is_word(token: str) -> bool:
    if len(token) > 1 or token.isalnum():
        return True
    return token == "_" or (ord(token) > 0x7F and unicodedata.category(token) == "So")


def _overlaps_any(span: CharSpan, others: Iterable[CharSpan]) -> bool:
    return any(span[0] < end and begin < span[1] for begin, end in others)
