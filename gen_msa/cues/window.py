"""The window cue: the words around an aspect, if there is no parse.

It replaces syntax in the same slot; `Cue.source` is `window`. It needs no grammar; scripts without
spaces are counted by character.

    cue_sources["window"](WindowOptions(words=5)).cues(posts)
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from gen_msa.cues.base import content_text, cue_sources, digest
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Post

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_MAX_WORD_CHARS = 40
"""Characters of a word in the window; a longer word is cut."""


class WindowOptions(Settings):
    """The size of the window."""

    words: int = Field(default=5, ge=1, le=50)
    """Words on each side of the aspect."""


@cue_sources.register
class WindowCues:
    """Fills the slot `syntax` with up to `words` words on each side of the aspect."""

    Options: ClassVar[type[Settings]] = WindowOptions
    slot = "syntax"

    def __init__(self, options: WindowOptions) -> None:
        self._options = options

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """Return one cue for each aspect; empty for an aspect without an offset."""
        return [tuple(self.cue(p.text, a) for a in p.aspects) for p in posts]

    def cue(self, text: str, aspect: Aspect) -> Cue:
        """Return the cue of one aspect. Only a bounded part of the text is scanned.

        Args:
            text: The text of the post.
            aspect: The aspect.
        """
        if aspect.start is None or aspect.end is None or not aspect.term:
            return Cue(text="", source="window")
        n = self._options.words
        max_chars = n * (_MAX_WORD_CHARS + 1)
        text_before = text[max(0, aspect.start - max_chars) : aspect.start]
        text_after = text[aspect.end : aspect.end + max_chars]
        words_before = list(_WORD.finditer(text_before))[-n:]
        words_after = list(_WORD.finditer(text_after))[:n]
        begin = (
            aspect.start
            - len(text_before)
            + (words_before[0].start() if words_before else len(text_before))
        )
        end = aspect.end + (words_after[-1].end() if words_after else 0)
        if not words_before and not words_after:
            return Cue(text="", source="window")
        words = " ".join(text[begin:end].split())
        prefix = "... " if text[:begin].strip() else ""
        return Cue(text=prefix + words + (" ..." if text[end:].strip() else ""), source="window")

    def fingerprint(self) -> str:
        """Return a hash of the options."""
        return digest("window 1", content_text(self._options))
