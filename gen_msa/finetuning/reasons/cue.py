"""Reasons made of the syntax cue and the label: one short sentence that quotes the deciding words.

The words are those that the grammar ties to the aspect and that praise or blame as the label says;
for a neutral aspect they are a fact. Where the words near the aspect say the opposite of the label,
or nothing, there is no reason. English only. Takes no target. Knows nothing of prompts.

    find("cue").reasoned(examples, "gold")    # '"slow" is a complaint about the waiter.'
"""

from collections.abc import Sequence

from gen_msa.cues.parsing import Kept, Pruning, Tree, english, from_parse, prune
from gen_msa.cues.parsing.tree import usable
from gen_msa.errors import MissingExtra, UserError
from gen_msa.finetuning.reasons._picking import Picker
from gen_msa.finetuning.reasons._wording import BARE, QUOTING, TONE, WHOLE, fill
from gen_msa.finetuning.reasons.base import reasons
from gen_msa.finetuning.reasons.sources import draw
from gen_msa.types import WHOLE_POST, Aspect, Example, Opinion, Polarity, Post

_WANTED = {Polarity.NEGATIVE: -1, Polarity.NEUTRAL: 0, Polarity.POSITIVE: 1}
_COMMON = frozenset({"NN", "NNS", "NOUN"})
_NAMES = frozenset({"NNP", "NNPS", "PROPN"})
_OWN_ARTICLE = frozenset(
    [
        "the",
        "a",
        "an",
        "my",
        "your",
        "his",
        "her",
        "its",
        "our",
        "their",
        "this",
        "that",
        "these",
        "those",
    ]
)
_MOST_QUOTES = 2


class Cue:
    """Explains labels from the words of the post."""

    def __init__(self) -> None:
        self._rules = Pruning()

    def reasons(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """For each example, and each of its opinions, one sentence or None.

        Raises `MissingExtra` when the English parser is needed and not installed.
        """
        found: list[tuple[str | None, ...]] = [()] * len(examples)
        unparsed: list[int] = []
        for i, e in enumerate(examples):
            if not e.opinions or len(e.post.text) > english.MOST_CHARS:
                found[i] = (None,) * len(e.opinions)
            elif e.post.parse and usable(e.post.text, e.post.parse):
                found[i] = self._of(e, from_parse(e.post.text, e.post.parse))
            else:
                unparsed.append(i)
        if unparsed and not english.installed(english.MODEL):
            raise MissingExtra(english.MODEL.replace("_", "-"), "builtin")
        texts = [examples[i].post.text for i in unparsed]
        made = english.each_tree(
            texts, english.MODEL, lambda j, tree: self._of(examples[unparsed[j]], tree)
        )
        for i, told in zip(unparsed, made, strict=True):
            found[i] = told
        return found

    def _of(self, example: Example, tree: Tree) -> tuple[str | None, ...]:
        post = example.post
        placed = list(dict.fromkeys([*post.aspects, *(o.aspect for o in example.opinions)]))
        spans = [_span(tree, a) for a in placed]
        picker = Picker(tree, (t for first, last in spans for t in range(first, last)))
        kept = dict(zip(placed, prune(tree, spans, self._rules), strict=True))
        # What is said of the post at large is said of an aspect only where no other is there.
        alone = len([a for a in placed if a.term]) <= 1
        told: list[str | None] = []
        for o in example.opinions:
            its = kept[o.aspect]
            if o.aspect == WHOLE_POST:
                told.append(_whole(post, o, picker))
            elif '"' in o.aspect.term or o.aspect.term != " ".join(o.aspect.term.split()):
                told.append(None)
            else:
                name = _named(tree, o.aspect)
                told.append(
                    _near(post, o, name, picker, its) or _tone(post, o, name, picker, alone)
                )
        return tuple(told)


def _near(post: Post, o: Opinion, name: str, picker: Picker, kept: Kept) -> str | None:
    polarity = _polarity(o)
    piece = picker.pick(kept, _WANTED[polarity])
    if piece is None:
        return None
    wordings = QUOTING[polarity] if piece.said else TONE.get(polarity, QUOTING[polarity])
    return fill(wordings, name, [post.text[piece.start : piece.end]], draw(post, o, "say"))


def _tone(post: Post, o: Opinion, name: str, picker: Picker, alone: bool) -> str | None:
    polarity, chance = _polarity(o), draw(post, o, "say")
    if polarity is Polarity.NEUTRAL:
        return fill(BARE, name, (), chance) if picker.quiet() else None
    pieces = picker.loaded(_WANTED[polarity]) if alone else []
    if not pieces:
        return None
    return fill(TONE[polarity], name, [post.text[pieces[0].start : pieces[0].end]], chance)


def _whole(post: Post, o: Opinion, picker: Picker) -> str | None:
    polarity, chance = _polarity(o), draw(post, o, "say")
    if polarity is Polarity.NEUTRAL:
        return fill(WHOLE[polarity], "", (), chance) if picker.quiet() else None
    pieces = picker.loaded(_WANTED[polarity])[:_MOST_QUOTES]
    quotes = list(dict.fromkeys(post.text[p.start : p.end] for p in sorted(pieces)))
    return fill(WHOLE[polarity], "", quotes, chance) if quotes else None


def _polarity(opinion: Opinion) -> Polarity:
    if opinion.polarity is None:
        raise ValueError("an opinion without polarity has no reason")
    return opinion.polarity


def _span(tree: Tree, aspect: Aspect) -> tuple[int, int]:
    if aspect.start is None or aspect.end is None or not aspect.term:
        return 0, 0
    return tree.span(aspect.start, aspect.end)


def _named(tree: Tree, aspect: Aspect) -> str:
    """The aspect's own words: after `the` if a common noun, in quotes if it is no noun at all."""
    first, last = _span(tree, aspect)
    term = aspect.term
    if first == last or not (term[:1].islower() or (first == 0 and term[1:].islower())):
        return term
    if tree.tags[last - 1] in _COMMON and term.isascii():
        return term if term.lower().split()[0] in _OWN_ARTICLE else f"the {term}"
    return term if tree.tags[last - 1] in _NAMES else f'"{term}"'


@reasons.register
def make(target: str) -> Cue:
    """The source. Raises `UserError` for a target: it takes none."""
    if target:
        raise UserError(f"reasons from the cue take no target, not {target!r}")
    return Cue()
