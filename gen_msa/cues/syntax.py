"""The syntax cue: the words that the grammar connects to an aspect, without those of other aspects.

A dependency tree is pruned around each aspect (`parsing.pruning`) and written as text
(`parsing.linearize`). `Cue.source` names the source of the tree:

* `heads:NAME`: the parse of the post itself;
* `spacy`: the English parser (option `model`), for posts in English or, in Latin letters, in a
  language that cannot be told;
* `spacy:MODEL`: an installed parser for the language of the post, such as `es_core_news_sm`;
* `window: no parser for es`: no parser for the language of the post is installed;
* `window`: no tree, because there is no parser, the text is too long, or the aspect is not a token
  of its own for the parser: it is in a URL, or in a script that the parser does not support.

`:predicates` is added if the aspect has no offset in the text: the cue then has the main predicates
of the post.

    cue_sources["syntax"](SyntaxOptions(k=2, form="paths")).cues(posts)
"""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from gen_msa.cues.base import content_text, cue_sources, digest, digest_model
from gen_msa.cues.parsing import spacy_pipeline
from gen_msa.cues.parsing.lexicon import DROPPED_RELATIONS, LONGEST_WORD
from gen_msa.cues.parsing.linearize import FORMS, PruningRules, predicate_subtree, prune
from gen_msa.cues.parsing.tree import DependencyTree, is_usable, tree_from_parse
from gen_msa.cues.window import WindowCues, WindowOptions
from gen_msa.errors import MissingExtra
from gen_msa.language import AUTO, UNKNOWN, LanguageSetting, detector_version, resolve_language
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Post

_OTHER_SCRIPT = re.compile(r"[\u0370-\u1dff\u2c00-\u2dff\u3040-\ud7ff\uf900-\ufdff\ufe70-\ufefc]")
_FORMAT_VERSION = "syntax 1"
"""Increase the number when the same tree gives another text."""


class SyntaxOptions(Settings):
    """How much of the tree is kept, and how it is written."""

    k: int = Field(default=2, ge=1, le=100_000)
    """Edges from the aspect. Function words do not count: "great" is one edge from "screen"."""
    rival_cut: bool = True
    """Remove words that belong to another aspect of the same post."""
    drop: tuple[str, ...] = tuple(sorted(DROPPED_RELATIONS))
    """Relations whose words are removed unless they carry sentiment ("no", "!!", emoji)."""
    max_words: int = Field(default=60, ge=1)
    form: Literal["phrase", "paths", "triples"] = "phrase"
    parser: Literal["auto", "spacy", "heads", "window"] = "auto"
    """`auto`: the parse of the post, else spaCy, else the window."""
    model: str = spacy_pipeline.MODEL
    """An installed spaCy model package, for posts in its language and in an unknown one."""
    language: LanguageSetting = AUTO
    """The language of all posts, such as `es`; `auto` detects it post by post."""
    window: int = Field(default=5, ge=1, le=50)
    """Words on each side of the aspect for the window."""


@cue_sources.register
class SyntaxCues:
    """Fills the slot `syntax` from dependency trees."""

    Options: ClassVar[type[Settings]] = SyntaxOptions
    slot = "syntax"

    def __init__(self, options: SyntaxOptions) -> None:
        self._options = options
        self._pruning_rules = PruningRules(options.k, options.rival_cut, frozenset(options.drop))
        self._window = WindowCues(WindowOptions(words=options.window))

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """Return one cue for each aspect of each post; all aspects of a post share one tree.

        Raises:
            MissingExtra: The options require spaCy, and it is not installed.
        """
        cues_by_post: list[tuple[Cue, ...]] = [()] * len(posts)
        rows_by_model: dict[str, list[int]] = {}
        for i, post in enumerate(posts):
            known = self._cues_without_spacy(post)
            if isinstance(known, str):
                rows_by_model.setdefault(known, []).append(i)
            else:
                cues_by_post[i] = known
        for model, rows in rows_by_model.items():
            for i, entry in zip(rows, self._parse(posts, rows, model), strict=True):
                cues_by_post[i] = entry
        return cues_by_post

    def _parse(self, posts: Sequence[Post], rows: list[int], model: str) -> list[tuple[Cue, ...]]:
        """Return the cues of the posts `rows` from the trees of a spaCy model."""
        source = "spacy" if model == self._options.model else f"spacy:{model}"
        return spacy_pipeline.map_trees(
            [posts[i].text for i in rows],
            model,
            lambda i, tree: self._write_cues(posts[rows[i]].aspects, tree, source),
        )

    def fingerprint(self) -> str:
        """Return a hash of the options and of the versions of parser and model, if used."""
        options = self._options
        parser = "none"
        if options.parser in ("auto", "spacy"):
            parser = spacy_pipeline.parser_versions(options.model)
            if options.language == AUTO:
                parser += f"; {detector_version()}"
        named = options.model_copy(update={"model": digest_model(options.model)})
        return digest(_FORMAT_VERSION, content_text(named), parser, self._window.fingerprint())

    def _cues_without_spacy(self, post: Post) -> tuple[Cue, ...] | str:
        """Return the cues of a post that does not need spaCy, else the model that must parse it."""
        parser = self._options.parser
        if not post.aspects:
            return ()
        if parser in ("auto", "heads") and post.parse and is_usable(post.text, post.parse):
            tree = tree_from_parse(post.text, post.parse)
            return self._write_cues(post.aspects, tree, f"heads:{post.parse.parser}")
        if parser == "heads":
            return tuple(Cue(text="", source="heads: the post has no parse") for _ in post.aspects)
        if parser == "window":
            return self._window_cues(post)
        language = resolve_language(self._options.language, post.text)
        model = spacy_pipeline.model_for(language, post.text, self._options.model)
        if model is None:
            reason = f"no parser for {language}" if language != UNKNOWN else ""
            return self._window_cues(post, reason)
        if not spacy_pipeline.is_installed(model):
            if parser == "spacy":
                raise MissingExtra(model.replace("_", "-"), "builtin")
            return self._window_cues(post)
        return model if len(post.text) <= spacy_pipeline.MAX_CHARS else self._window_cues(post)

    def _window_cues(self, post: Post, reason: str = "") -> tuple[Cue, ...]:
        cues = (self._window.cue(post.text, a) for a in post.aspects)
        if not reason:
            return tuple(cues)
        return tuple(c.model_copy(update={"source": f"{c.source}: {reason}"}) for c in cues)

    def _write_cues(
        self, aspects: tuple[Aspect, ...], tree: DependencyTree, source: str
    ) -> tuple[Cue, ...]:
        linearize, max_words = FORMS[self._options.form], self._options.max_words
        spans = [_span(tree, a) for a in aspects]
        aspect_cues = []
        for a, subtree in zip(aspects, prune(tree, spans, self._pruning_rules), strict=True):
            first, last = subtree.span
            if first == last:
                text = linearize(
                    tree, predicate_subtree(tree, self._pruning_rules), a.term, max_words
                )
                aspect_cues.append(Cue(text=text, source=f"{source}:predicates"))
            elif _is_unreadable_script(a.term, source) or _is_merged_token(
                tree, first, last, a.term
            ):
                aspect_cues.append(self._window.cue(tree.text, a))
            elif len(subtree.distance_keys) <= last - first:
                aspect_cues.append(Cue(text="", source=source))
            else:
                aspect_cues.append(
                    Cue(text=linearize(tree, subtree, a.term, max_words), source=source)
                )
        return tuple(aspect_cues)


def _span(tree: DependencyTree, aspect: Aspect) -> tuple[int, int]:
    if aspect.start is None or not aspect.term:
        return 0, 0
    return tree.token_span(aspect.start, aspect.start + len(aspect.term))


def _is_unreadable_script(term: str, source: str) -> bool:
    """Return whether the term is in a script that the English parser does not support."""
    return source == "spacy" and not term.isascii() and _OTHER_SCRIPT.search(term) is not None


def _is_merged_token(tree: DependencyTree, first: int, last: int, term: str) -> bool:
    """Return whether the term is only a part of a much longer token, such as a URL."""
    return tree.ends[last - 1] - tree.starts[first] > len(term) + LONGEST_WORD
