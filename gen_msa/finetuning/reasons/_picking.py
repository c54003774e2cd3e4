"""Which words of a sentence carry the opinion of an aspect, as one verbatim piece of the text.

Works on a tree and on what `cues.parsing` keeps for the aspect. A piece is a word that praises or
blames, or for want of one an adjective right beside the aspect, with its negators and what stands
next to it. Where the nearest words say the opposite of what is wanted, nothing is picked. Knows
nothing of wording.

    Picker(tree, taken).pick(kept, wanted=-1)     # Piece(start=28, end=34, ...): "slow"
"""

from collections.abc import Iterable
from typing import NamedTuple

from gen_msa.cues.parsing import Kept, Tree
from gen_msa.cues.parsing.words import MODALS, is_junk, word_set
from gen_msa.finetuning.reasons._leaning import Leanings

MOST_WORDS = 6
"""Of a quoted piece."""

ADJECTIVES = word_set("JJ JJR JJS ADJ")
VERBS = word_set("VB VBD VBG VBN VBP VBZ VERB")
_SMALL_TAGS = word_set("DT IN CC PRP PRP$ WDT WP WP$ WRB EX TO MD CD DET ADP CCONJ SCONJ PRON NUM")
_LEFT = word_set("advmod amod compound neg aux auxpass aux:pass nummod cop")
_RIGHT = word_set("dobj obj advmod prt compound:prt acomp npadvmod amod compound case")
_BE = word_set("be is are was were been being am 's 're 'm ’s ’re ’m")
_LIGHT = _BE | word_set(
    "have has had having do does did done doing get gets got getting go goes went going say says"
    " said make makes made let lets"
)
_WEAK_ADJECTIVES = word_set(
    "other same such own first second third last next few many several more most whole only new"
    " old main different various certain full live former late able due exempt available open"
    " official young early big small less more fit free high low daily"
    " american italian french chinese japanese indian mexican"
)


class Piece(NamedTuple):
    """A verbatim piece of the text."""

    start: int
    end: int
    said: bool
    """Whether it is an adjective, said of the aspect itself, and not what someone did."""


class Picker:
    """Picks pieces from one tree. `taken` are the tokens of all aspects of the post."""

    def __init__(self, tree: Tree, taken: Iterable[int]) -> None:
        self._tree = tree
        self._taken = frozenset(taken)
        self._leanings = Leanings(tree, self._taken)

    def pick(self, kept: Kept, wanted: int) -> Piece | None:
        """The piece that best shows the polarity `wanted` (-1, 0, 1); None when none does."""
        leanings = {i: self._leanings.of(i) for i in kept.near if self._leanings.speaks(i)}
        order = sorted(leanings, key=lambda i: (kept.near[i] // 2, self._rank(i), i))
        opposed = any(leanings.values())
        if wanted == 0:
            facts = [] if opposed else [i for i in order if self._states(i)]
            return next((p for i in facts if (p := self._fact(i, kept.span))), None)
        chosen = [i for i in order if leanings[i] == wanted]
        if not chosen and not opposed:
            chosen = [i for i in order if kept.near[i] // 2 <= 1 and self._telling(i, wanted)]
        return next((p for i in chosen if (p := self._piece(i))), None)

    def loaded(self, wanted: int) -> list[Piece]:
        """Every piece of the whole text whose words lean as `wanted`, adjectives first.

        Empty unless more words lean that way than the other.
        """
        leanings = self._leanings.all()
        agreeing = [i for i, leaning in leanings.items() if leaning == wanted]
        if len(agreeing) <= sum(leaning == -wanted for leaning in leanings.values()):
            return []
        kept: list[Piece] = []
        for i in sorted(agreeing, key=lambda i: (self._rank(i), i)):
            p = self._piece(i)
            if p and all(p.end <= k.start or k.end <= p.start for k in kept):
                kept.append(p)
        return kept

    def quiet(self) -> bool:
        """Whether no word of the text praises or blames, as far as English words can tell."""
        return self._leanings.readable() and not any(self._leanings.all().values())

    def _rank(self, i: int) -> int:
        tag = self._tree.tags[i]
        return 0 if tag in ADJECTIVES else 1 if tag in VERBS else 2

    def _telling(self, i: int, wanted: int) -> bool:
        """Whether a word outside the list may carry the opinion: adjectives, negated verbs."""
        tag, word = self._tree.tags[i], self._tree.lower[i]
        if tag in ADJECTIVES:
            return word not in _WEAK_ADJECTIVES and word.isalpha()
        negated = wanted < 0 and tag in VERBS and word not in _LIGHT
        return negated and bool(self._leanings.negators(i))

    def _states(self, i: int) -> bool:
        """Whether a word may stand for a fact: a verb of content that nothing negates."""
        tag, word = self._tree.tags[i], self._tree.lower[i]
        told = tag in VERBS and word not in _LIGHT and word.isalpha()
        return told and not self._leanings.negators(i)

    def _fact(self, i: int, span: tuple[int, int]) -> Piece | None:
        """From a verb to the aspect it governs, else what follows the aspect of its verb.

        A verb alone tells nothing.
        """
        first, last = span
        if i < first < last and self._governs(i, span) and self._fits(i, last - 1, span):
            return self._made(i, last - 1, i)
        piece = self._piece(i)
        if piece is None or piece.start < self._tree.ends[max(last - 1, 0)]:
            return None
        return piece if " " in self._tree.text[piece.start : piece.end] else None

    def _governs(self, i: int, span: tuple[int, int]) -> bool:
        """Whether the way up from the span leads to `i`."""
        at = {self._tree.heads[t] for t in range(*span)} - set(range(*span))
        head = min(at, default=-1)
        while head >= 0 and head != i:
            head = self._tree.heads[head]
        return head == i

    def _piece(self, i: int) -> Piece | None:
        tree, negators = self._tree, self._leanings.negators(i)
        least, most = min([i, *negators]), max([i, *negators])
        if not self._fits(least, most):
            return None
        first, last = least, most
        while first and self._joins(first - 1, first, last, _LEFT):
            first -= 1
        while last + 1 < len(tree.heads) and self._joins(last + 1, first, last, _RIGHT):
            last += 1
        last = self._with_conjunct(i, first, last)
        while last > most and tree.tags[last] in _SMALL_TAGS:
            last -= 1
        while first < least and self._is_auxiliary(first):
            first += 1
        first = self._leanings.whole_word(first)
        return self._made(first, last, i) if self._fits(first, last) else None

    def _made(self, first: int, last: int, i: int) -> Piece:
        start, end = self._tree.starts[first], self._tree.ends[last]
        return Piece(start, end, said=self._rank(i) == 0)

    def _is_auxiliary(self, i: int) -> bool:
        word, rel = self._tree.lower[i], self._tree.rels[i]
        return rel.startswith(("aux", "cop")) or word in _BE or word in MODALS

    def _fits(self, first: int, last: int, own: tuple[int, int] = (0, 0)) -> bool:
        """Whether these tokens can be quoted: few, plainly spaced, no quotes, no rival's word."""
        tree = self._tree
        if any(t in self._taken and not own[0] <= t < own[1] for t in range(first, last + 1)):
            return False
        words = tree.text[tree.starts[first] : tree.ends[last]].split(" ")
        plain = all(w and not any(c.isspace() or c == '"' for c in w) for w in words)
        return plain and len(words) <= MOST_WORDS

    def _joins(self, i: int, first: int, last: int, rels: frozenset[str]) -> bool:
        tree = self._tree
        beside = first <= tree.heads[i] <= last and tree.rels[i] in rels
        return beside and not is_junk(tree.lower[i]) and self._fits(min(i, first), max(i, last))

    def _with_conjunct(self, i: int, first: int, last: int) -> int:
        """To the end of "and tasty" after "fresh", when that does not lean the other way."""
        tree = self._tree
        for c in tree.children[i]:
            beside = tree.rels[c] == "conj" and c == last + 2
            if beside and tree.lower[last + 1] in ("and", "&") and tree.tags[c] == tree.tags[i]:
                opposed = self._leanings.of(c) == -self._leanings.of(i)
                if self._fits(first, c) and (not opposed or not self._leanings.of(i)):
                    return c
        return last
