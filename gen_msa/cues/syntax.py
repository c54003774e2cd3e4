"""The syntax cue: the words that the grammar ties to an aspect, cut off from its rivals' words.

A dependency tree is pruned round each aspect (`parsing.pruning`) and written as text
(`parsing.wording`). Knows nothing of prompts. `Cue.source` says whose tree it was:

* `heads:NAME`: it came with the post;
* `spacy`: the English parser, whatever the language of the post;
* `window`: no tree, because there was no parser, the text was too long, or the aspect is no word
  of its own to the parser: it stands in a URL, or in a script that the parser cannot read.

`:predicates` is added where the aspect has no place in the text: the cue is then about the main
predicates of the post.

    cues["syntax"](SyntaxOptions(k=2, form="paths")).cues(posts)
"""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from gen_msa.cues._digest import digest
from gen_msa.cues.base import cues
from gen_msa.cues.parsing import english
from gen_msa.cues.parsing.pruning import Pruning, predicates, prune
from gen_msa.cues.parsing.tree import Tree, from_parse, usable
from gen_msa.cues.parsing.wording import FORMS
from gen_msa.cues.parsing.words import DROP, LONGEST_WORD
from gen_msa.cues.window import Window, WindowOptions
from gen_msa.errors import MissingExtra
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Post

_OTHER_SCRIPT = re.compile(r"[\u0370-\u1dff\u2c00-\u2dff\u3040-\ud7ff\uf900-\ufdff\ufe70-\ufefc]")
_WORDING = "syntax 1"
"""Raise the number when the same tree gives other bytes."""


class SyntaxOptions(Settings):
    """What is kept of the tree, and how it is written."""

    k: int = Field(default=2, ge=1, le=100_000)
    """Edges from the aspect; Small function words are no step: "great" is one from "screen"."""
    rival_cut: bool = True
    """Cut what belongs to another aspect of the same post."""
    drop: tuple[str, ...] = tuple(sorted(DROP))
    """Relations whose words are left out unless they carry sentiment ("no", "!!", emoji)."""
    max_words: int = Field(default=60, ge=1)
    form: Literal["phrase", "paths", "triples"] = "phrase"
    parser: Literal["auto", "spacy", "heads", "window"] = "auto"
    """`auto`: the parse that came with the post, else spaCy, else the window."""
    model: str = english.MODEL
    """An installed spaCy model package."""
    window: int = Field(default=5, ge=1, le=50)
    """Words on either side where the window stands in."""


@cues.register
class Syntax:
    """Fills the slot `syntax` from dependency trees."""

    Options: ClassVar[type[Settings]] = SyntaxOptions
    slot = "syntax"

    def __init__(self, options: SyntaxOptions) -> None:
        self._options = options
        self._rules = Pruning(options.k, options.rival_cut, frozenset(options.drop))
        self._window = Window(WindowOptions(words=options.window))

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """One cue an aspect, all aspects of a post from one tree.

        Raises `MissingExtra` when spaCy is asked for by name and is not installed.
        """
        spacy = english.installed(self._options.model)
        found = [self._unparsed(p, spacy=spacy) for p in posts]
        left = [i for i, cues in enumerate(found) if cues is None]
        if left:
            texts = [posts[i].text for i in left]
            model = self._options.model
            parsed = english.each_tree(
                texts, model, lambda i, tree: self._write(posts[left[i]].aspects, tree, "spacy")
            )
            for i, written in zip(left, parsed, strict=True):
                found[i] = written
        return [written or () for written in found]

    def fingerprint(self) -> str:
        """Of the options and, unless no parser is used, the versions of parser and model."""
        o = self._options
        by = "none"
        if o.parser in ("auto", "spacy") and english.installed(o.model):
            by = english.version(o.model)
        return digest(_WORDING, o.model_dump_json(), by, self._window.fingerprint())

    def _unparsed(self, post: Post, *, spacy: bool) -> tuple[Cue, ...] | None:
        """The cues of a post that spaCy need not read; None when it must."""
        asked = self._options.parser
        if not post.aspects:
            return ()
        if asked in ("auto", "heads") and post.parse and usable(post.text, post.parse):
            tree = from_parse(post.text, post.parse)
            return self._write(post.aspects, tree, f"heads:{post.parse.by}")
        if asked == "heads":
            return tuple(
                Cue(text="", source="heads: none came with the post") for _ in post.aspects
            )
        if asked == "spacy" and not spacy:
            raise MissingExtra(self._options.model.replace("_", "-"), "builtin")
        if asked != "window" and spacy and len(post.text) <= english.MOST_CHARS:
            return None
        return tuple(self._window.cue(post.text, a) for a in post.aspects)

    def _write(self, aspects: tuple[Aspect, ...], tree: Tree, source: str) -> tuple[Cue, ...]:
        form, most = FORMS[self._options.form], self._options.max_words
        spans = [_span(tree, a) for a in aspects]
        written = []
        for a, kept in zip(aspects, prune(tree, spans, self._rules), strict=True):
            first, last = kept.span
            if first == last:
                text = form(tree, predicates(tree, self._rules), a.term, most)
                written.append(Cue(text=text, source=f"{source}:predicates"))
            elif _unreadable(a.term, source) or _stuck(tree, first, last, a.term):
                written.append(self._window.cue(tree.text, a))
            elif len(kept.near) <= last - first:
                written.append(Cue(text="", source=source))
            else:
                written.append(Cue(text=form(tree, kept, a.term, most), source=source))
        return tuple(written)


def _span(tree: Tree, aspect: Aspect) -> tuple[int, int]:
    if aspect.start is None or not aspect.term:
        return 0, 0
    return tree.span(aspect.start, aspect.start + len(aspect.term))


def _unreadable(term: str, source: str) -> bool:
    """Whether the term is in a script that the English parser takes for one word or for noise."""
    return source == "spacy" and not term.isascii() and _OTHER_SCRIPT.search(term) is not None


def _stuck(tree: Tree, first: int, last: int, term: str) -> bool:
    """Whether the parser saw the term only as a part of something far longer, a URL say."""
    return tree.ends[last - 1] - tree.starts[first] > len(term) + LONGEST_WORD
