"""Rationales from syntax and label: one short sentence that quotes the deciding words.

The words are those that the dependency parse ties to the aspect and whose polarity is the label;
for a neutral aspect they state a fact. There is no rationale if the words near the aspect have the
opposite polarity, or none. English only; takes no target.

    find_sources("cue").explain(examples, "gold")    # '"slow" is a complaint about the waiter.'
"""

import re
from collections.abc import Sequence

from gen_msa.cues.parsing import (
    AspectSubtree,
    DependencyTree,
    PruningRules,
    prune,
    spacy_pipeline,
    tree_from_parse,
)
from gen_msa.cues.parsing.lexicon import word_set
from gen_msa.cues.parsing.tree import is_usable
from gen_msa.errors import MissingExtra, UserError
from gen_msa.finetuning.rationales._opinion_span import OpinionSpanFinder
from gen_msa.finetuning.rationales.base import rationale_sources, stable_random
from gen_msa.language import detect_language, may_be_english
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Opinion, Polarity, Post

QUOTE_TEMPLATES = {
    Polarity.NEGATIVE: (
        "{q} speaks against {a}.",
        "{q} is a complaint about {a}.",
        "The writer is unhappy with {a}: {q}.",
        "Blame for {a}: {q}.",
    ),
    Polarity.NEUTRAL: (
        "{q} is a fact about {a}, not an opinion.",
        "{q} neither praises nor blames {a}.",
        "{q} tells of {a} without an opinion.",
    ),
    Polarity.POSITIVE: (
        "{q} speaks for {a}.",
        "{q} is praise for {a}.",
        "The writer is happy with {a}: {q}.",
        "Praise for {a}: {q}.",
    ),
}
"""`{q}`: the quotes, `{a}`: the aspect; no template depends on its number (singular or plural)."""

TONE_TEMPLATES = {
    Polarity.NEGATIVE: (
        "{q} casts a bad light on {a}.",
        "The tone about {a} is bad: {q}.",
        "Bad news for {a}: {q}.",
    ),
    Polarity.POSITIVE: (
        "{q} casts a good light on {a}.",
        "The tone about {a} is good: {q}.",
        "Good words for {a}: {q}.",
    ),
}
"""For quotes that set the tone but are not about the aspect itself."""

NO_OPINION_TEMPLATES = (
    "The post names {a} without an opinion.",
    "Nothing is said for or against {a}.",
    "No praise and no blame for {a}.",
)
"""For neutral aspects without a quote."""

WHOLE_POST_TEMPLATES = {
    Polarity.NEGATIVE: (
        "The mood of the post is bad: {q}.",
        "The post complains: {q}.",
    ),
    Polarity.NEUTRAL: (
        "The post tells facts and takes no side.",
        "The post neither praises nor complains.",
    ),
    Polarity.POSITIVE: (
        "The mood of the post is good: {q}.",
        "The post is glad: {q}.",
    ),
}


def fill_template(
    templates: Sequence[str], aspect: str, quotes: Sequence[str], chance: float
) -> str:
    """Fill one of the templates.

    Args:
        templates: The templates to choose from.
        aspect: Replaces `{a}`.
        quotes: Replace `{q}`, in double quotes and joined by `and`.
        chance: In [0, 1); chooses the template.

    Returns:
        The sentence; other braces stay as they are.
    """
    joined_quotes = " and ".join(f'"{q}"' for q in quotes)
    # Not `str.format`, and both at once: an aspect or a quote may contain braces.
    parts = re.split(r"(\{[qa]\})", templates[int(chance * len(templates))])
    return "".join({"{q}": joined_quotes, "{a}": aspect}.get(p, p) for p in parts)


_POLARITY_SIGN = {Polarity.NEGATIVE: -1, Polarity.NEUTRAL: 0, Polarity.POSITIVE: 1}
_COMMON_NOUN_TAGS = frozenset({"NN", "NNS", "NOUN"})
_PROPER_NOUN_TAGS = frozenset({"NNP", "NNPS", "PROPN"})
_DETERMINERS = word_set("the a an my your his her its our their this that these those")
_MAX_QUOTES = 2


class CueRationales:
    """Explains labels from the words of the post."""

    def __init__(self) -> None:
        self._rules = PruningRules()

    def rationales(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """Return, for each example and each of its opinions, one sentence or None.

        Raises:
            MissingExtra: If the English parser is needed and not installed.
        """
        results: list[tuple[str | None, ...]] = [()] * len(examples)
        unparsed: list[int] = []
        for i, e in enumerate(examples):
            if not e.opinions or len(e.post.text) > spacy_pipeline.MAX_CHARS:
                results[i] = (None,) * len(e.opinions)
            elif e.post.parse and is_usable(e.post.text, e.post.parse):
                results[i] = self._explain(e, tree_from_parse(e.post.text, e.post.parse))
            else:
                unparsed.append(i)
        # The templates and the words of tone are English.
        for i in [i for i in unparsed if not _is_english(examples[i].post.text)]:
            results[i] = (None,) * len(examples[i].opinions)
            unparsed.remove(i)
        if unparsed and not spacy_pipeline.is_installed(spacy_pipeline.MODEL):
            raise MissingExtra(spacy_pipeline.MODEL.replace("_", "-"), "builtin")
        texts = [examples[i].post.text for i in unparsed]
        parsed = spacy_pipeline.map_trees(
            texts, spacy_pipeline.MODEL, lambda j, tree: self._explain(examples[unparsed[j]], tree)
        )
        for i, sentences in zip(unparsed, parsed, strict=True):
            results[i] = sentences
        return results

    def _explain(self, example: Example, tree: DependencyTree) -> tuple[str | None, ...]:
        post = example.post
        aspects = list(dict.fromkeys([*post.aspects, *(o.aspect for o in example.opinions)]))
        spans = [_token_span(tree, a) for a in aspects]
        finder = OpinionSpanFinder(tree, (t for first, last in spans for t in range(first, last)))
        pruned = dict(zip(aspects, prune(tree, spans, self._rules), strict=True))
        # Words about the whole post are about an aspect only if it is the only one.
        is_only_aspect = len([a for a in aspects if a.term]) <= 1
        sentences: list[str | None] = []
        for o in example.opinions:
            near_words = pruned[o.aspect]
            if o.aspect == OVERALL_ASPECT:
                sentences.append(_for_whole_post(post, o, finder))
            elif '"' in o.aspect.term or o.aspect.term != " ".join(o.aspect.term.split()):
                sentences.append(None)
            else:
                name = _aspect_name(tree, o.aspect)
                sentences.append(
                    _from_near_words(post, o, name, finder, near_words)
                    or _from_tone(post, o, name, finder, is_only_aspect)
                )
        return tuple(sentences)


def _is_english(text: str) -> bool:
    return may_be_english(detect_language(text), text)


def _from_near_words(
    post: Post, o: Opinion, name: str, finder: OpinionSpanFinder, pruned: AspectSubtree
) -> str | None:
    polarity = _require_polarity(o)
    span = finder.best_span(pruned, _POLARITY_SIGN[polarity])
    if span is None:
        return None
    templates = (
        QUOTE_TEMPLATES[polarity]
        if span.is_adjective
        else TONE_TEMPLATES.get(polarity, QUOTE_TEMPLATES[polarity])
    )
    return fill_template(
        templates, name, [post.text[span.start : span.end]], stable_random(post, o, "say")
    )


def _from_tone(
    post: Post, o: Opinion, name: str, finder: OpinionSpanFinder, is_only_aspect: bool
) -> str | None:
    polarity, chance = _require_polarity(o), stable_random(post, o, "say")
    if polarity is Polarity.NEUTRAL:
        return (
            fill_template(NO_OPINION_TEMPLATES, name, (), chance) if finder.is_neutral() else None
        )
    spans = finder.polar_spans(_POLARITY_SIGN[polarity]) if is_only_aspect else []
    if not spans:
        return None
    return fill_template(
        TONE_TEMPLATES[polarity], name, [post.text[spans[0].start : spans[0].end]], chance
    )


def _for_whole_post(post: Post, o: Opinion, finder: OpinionSpanFinder) -> str | None:
    polarity, chance = _require_polarity(o), stable_random(post, o, "say")
    if polarity is Polarity.NEUTRAL:
        return (
            fill_template(WHOLE_POST_TEMPLATES[polarity], "", (), chance)
            if finder.is_neutral()
            else None
        )
    spans = finder.polar_spans(_POLARITY_SIGN[polarity])[:_MAX_QUOTES]
    quotes = list(dict.fromkeys(post.text[p.start : p.end] for p in sorted(spans)))
    return fill_template(WHOLE_POST_TEMPLATES[polarity], "", quotes, chance) if quotes else None


def _require_polarity(opinion: Opinion) -> Polarity:
    if opinion.polarity is None:
        raise ValueError("an opinion without polarity has no rationale")
    return opinion.polarity


def _token_span(tree: DependencyTree, aspect: Aspect) -> tuple[int, int]:
    if aspect.start is None or aspect.end is None or not aspect.term:
        return 0, 0
    return tree.token_span(aspect.start, aspect.end)


def _aspect_name(tree: DependencyTree, aspect: Aspect) -> str:
    """Return the aspect's term: after `the` for a common noun, in quotes if it is no noun."""
    first, last = _token_span(tree, aspect)
    term = aspect.term
    if first == last or not (term[:1].islower() or (first == 0 and term[1:].islower())):
        return term
    if tree.tags[last - 1] in _COMMON_NOUN_TAGS and term.isascii():
        return term if term.lower().split()[0] in _DETERMINERS else f"the {term}"
    return term if tree.tags[last - 1] in _PROPER_NOUN_TAGS else f'"{term}"'


@rationale_sources.register
def create_source(target: str) -> CueRationales:
    """Create the source.

    Raises:
        UserError: If a target is given.
    """
    if target:
        raise UserError(f"the cue source takes no target, not {target!r}")
    return CueRationales()
