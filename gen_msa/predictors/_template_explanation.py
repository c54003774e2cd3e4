"""Template explanations for models that give none: the words that carry the answer, quoted.

    soup: positive. It rests most on "great", in "soup was great".
    soup: positive. It rests most on "love"; about soup the post says "soup came late".
    soup: neutral, though no few words of the post carry it.

The same answer always gets the same words. Quotes are verbatim; the aspect is named first.

    template_explanation(aspect, polarity, evidence_items, aspect_contexts([post])[0][0])
"""

import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from gen_msa.cues.syntax import SyntaxCues, SyntaxOptions
from gen_msa.cues.window import WindowCues, WindowOptions
from gen_msa.models.inference.occlusion import Attribution
from gen_msa.spans import SearchableText, extract_quotes, fold
from gen_msa.types import Aspect, Cue, Evidence, Polarity, Post

TEMPLATE_SOURCE = "template"
"""Value of `provenance["explanation_source"]` for such an explanation."""
_IMAGE_INPUTS = ("image", "vision", "video")
_QUOTE_STYLES = ('"{}"', "“{}”", "«{}»")
"""The first is used unless the aspect's name contains such a mark."""
_QUOTE_CHARS = re.compile('["“”„«»「」『』\n]')
_STRIPPED_CHARS = " .,;:@"
_MAX_PIECES = 2
_WINDOW_TOKENS = 4
"""Words on either side of an aspect, if there is no parse."""


class AspectContext(NamedTuple):
    """Verbatim pieces of a post that belong to an aspect, and where they come from."""

    pieces: tuple[str, ...] = ()
    source: str = ""
    """`heads:NAME` of a parse, or `window`; empty if there are no pieces."""

    @property
    def is_parsed(self) -> bool:
        """Whether a parse links them to the aspect."""
        return self.source.startswith("heads")


_NO_CONTEXT = AspectContext()


def build_evidence(text: str, context_text: str, attribution: Attribution) -> tuple[Evidence, ...]:
    """Return what carries an answer, strongest first; adjacent words become one quote.

    Args:
        text: Text of the post.
        context_text: What the model knew besides the post.
        attribution: Words and inputs that carry the answer.
    """
    spans = SearchableText(text)
    evidence_items = []
    for begin, end in _merge_adjacent(text, attribution.spans):
        quote = text[begin:end]
        # Skip a span that starts or ends inside a folded character: it could not be found again.
        if next(spans.find_whole_words(quote), None):
            evidence_items.append(Evidence(quote=quote, start=begin))
    for name in sorted(attribution.part_drops, key=lambda n: (-attribution.part_drops[n], n)):
        if name in _IMAGE_INPUTS:
            evidence_items.append(Evidence(quote=f"the {name}", source="image"))
        elif name == "context":
            evidence_items.append(Evidence(quote=context_text[:200], source="cue"))
    return tuple(evidence_items)


def template_explanation(
    aspect: Aspect,
    polarity: Polarity,
    evidence_items: Sequence[Evidence],
    aspect_context: AspectContext = _NO_CONTEXT,
    others: Sequence[str] = (),
) -> str:
    """Return the explanation.

    Words that are merely near the aspect are mentioned only if the evidence is among them; words
    that a parse links to it are always mentioned.

    Args:
        aspect: Named first.
        polarity: The answer.
        evidence_items: What carries it.
        aspect_context: Pieces of the post that belong to the aspect.
        others: Names of other inputs that carry the answer, e.g. "the image".
    """
    quoted_words = [e.quote for e in evidence_items if e.source == "text"]
    aspect_name = fold(aspect.term.strip())
    for quote_style, used_context in product(_QUOTE_STYLES, (aspect_context, _NO_CONTEXT)):
        explanation = _render(aspect, polarity, quoted_words, used_context, others, quote_style)
        if all(
            q in quoted_words or q in used_context.pieces or fold(q) == aspect_name
            for q in extract_quotes(explanation)
        ):
            return explanation
    main_parts = ["the words listed as evidence"] * bool(quoted_words)
    return _render(aspect, polarity, (), _NO_CONTEXT, [*main_parts, *others], "")


def aspect_contexts(posts: Sequence[Post]) -> list[list[AspectContext]]:
    """Return, for each aspect of each post, the pieces of its text that belong to it.

    They come from the parse of the post, or without one from the words around the aspect
    (`window`).
    """
    syntax = SyntaxCues(SyntaxOptions(parser="heads"))
    window = WindowCues(WindowOptions(words=_WINDOW_TOKENS))
    parsed = iter(syntax.cues([p for p in posts if p.parse]))
    windowed = iter(window.cues([p for p in posts if not p.parse]))
    return [
        [_context_pieces(p.text, a, c) for a, c in zip(p.aspects, next(contexts), strict=True)]
        for p in posts
        for contexts in [parsed if p.parse else windowed]
    ]


def _context_pieces(text: str, aspect: Aspect, cue: Cue) -> AspectContext:
    spans, aspect_name = SearchableText(text), fold(aspect.term.strip())
    pieces = (p.strip(_STRIPPED_CHARS) for p in f" {cue.text} ".split(" ... "))
    verbatim = (
        p
        for p in pieces
        if p in text and next(spans.find_whole_words(p), None) and fold(p) != aspect_name
    )
    context_pieces = tuple(p for p in verbatim if not _QUOTE_CHARS.search(p))[:_MAX_PIECES]
    return AspectContext(context_pieces, cue.source if context_pieces else "")


def _render(
    aspect: Aspect,
    polarity: Polarity,
    quoted_words: Sequence[str],
    aspect_context: AspectContext,
    others: Sequence[str],
    quote_style: str,
) -> str:
    name = aspect.term.strip() or "the post as a whole"
    main_list = _join_list(
        [*(quote_style.format(quoted_word) for quoted_word in quoted_words), *others]
    )
    context_list = _join_list([quote_style.format(p) for p in aspect_context.pieces])
    if main_list:
        sentence = f"{name}: {polarity}. It rests most on {main_list}"
    else:
        sentence = f"{name}: {polarity}, though no few words of the post carry it"
    if (
        context_list
        and quoted_words
        and all(
            any(quoted_word in p for p in aspect_context.pieces) for quoted_word in quoted_words
        )
    ):
        return f"{sentence}, in {context_list}."
    return (
        f"{sentence}; about {name} the post says {context_list}."
        if context_list and aspect_context.is_parsed
        else f"{sentence}."
    )


def _join_list(items: Sequence[str]) -> str:
    """Join items as `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def _merge_adjacent(text: str, word_spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge words separated by one space; each run takes the rank of its strongest word."""
    rank = {span: i for i, span in enumerate(word_spans)}
    runs: list[list[tuple[int, int]]] = []
    for word_span in sorted(word_spans):
        if runs and text[runs[-1][-1][1] : word_span[0]] == " ":
            runs[-1].append(word_span)
        else:
            runs.append([word_span])
    runs.sort(key=lambda run: min(rank[span] for span in run))
    return [(run[0][0], run[-1][1]) for run in runs]
