"""Which words of a tree praise or blame, negation and all. English. Knows nothing of names.

Leanings(tree, taken).of(i)     # -1, 0 or 1: "good" in "not good" is -1
"""

from gen_msa.cues.parsing import DependencyTree
from gen_msa.cues.parsing.words import NEGATORS, is_junk, word_set
from gen_msa.finetuning.reasons._lexicon import word_polarity

_VERBS = word_set("VB VBD VBG VBN VBP VBZ VERB")
_NAMES = word_set("NNP NNPS PROPN")
_ACROSS = word_set("ccomp xcomp")
_NO_NEGATION = word_set("nothing none neither nor")
_ENGLISH = word_set(
    "the a an to of and in is are was for on you i my this that with at it by be from we your our"
)


class TokenPolarity:
    """What the words of one text lean to. `taken` are the tokens of aspects: they say nothing."""

    def __init__(self, tree: DependencyTree, aspect_tokens: frozenset[int]) -> None:
        self._tree = tree
        self._aspect_tokens = aspect_tokens
        letters = [c for c in tree.text if c.isalpha()]
        self._all_caps = sum(map(str.isupper, letters)) > len(letters) / 2

    def all_tokens(self) -> dict[int, int]:
        """The leaning of every token that may have one."""
        return {i: self.polarity(i) for i in range(len(self._tree.heads)) if self.is_candidate(i)}

    def is_candidate(self, i: int) -> bool:
        """Whether a token can say anything: no aspect, no junk, and no name (Grace, Price)."""
        tree = self._tree
        if i in self._aspect_tokens or is_junk(tree.lower[i]):
            return False
        name = tree.tags[i] in _NAMES and tree.token_text(i)[:1].isupper() and not self._all_caps
        return not name or (i > 0 and tree.lower[i - 1] == "#")

    def polarity(self, i: int) -> int:
        """1 for praise, -1 for blame, 0 for neither."""
        tree = self._tree
        word, tag = tree.lower[i], tree.tags[i]
        if word in ("like", "likes", "mean", "means") and (tag not in _VERBS or word[0] == "m"):
            return 0
        if word in ("well", "pretty", "right", "just") and tree.rels[i] != "ROOT" and tag != "JJ":
            # "pretty bad", "as well as": no praise; "works well" is.
            verb = tree.heads[i] >= 0 and tree.tags[tree.heads[i]] in _VERBS
            if not (word == "well" and verb and tree.lower[i - 1 : i] != ["as"]):
                return 0
        if word in ("kind", "sort") and tree.lower[i + 1 : i + 2] == ["of"]:
            return 0
        return -word_polarity(word) if self.negators(i) else word_polarity(word)

    def negators(self, i: int) -> list[int]:
        """The tokens that turn the meaning of `i` round, in order."""
        tree = self._tree
        negators = [c for c in tree.children[i] if self._negates(c)]
        if i and self._negates(i - 1):
            negators.append(i - 1)
        head = tree.heads[i]
        if head >= 0 and tree.rels[i] in _ACROSS:
            negators += [c for c in tree.children[head] if self._negates(c)]
        return sorted(set(negators) - {i})

    def is_english(self) -> bool:
        """Whether the text may be English; a word of ours says so, a letter of others denies it."""
        foreign = any(c.isalpha() and not c.isascii() for c in self._tree.text)
        return not foreign or not _ENGLISH.isdisjoint(self._tree.lower)

    def word_start(self, first: int) -> int:
        """Back to where the written word begins: `do` of "don't", `#` of "#happy"."""
        tree = self._tree
        if self._is_split_negation(first):
            first -= 2
        while first and tree.starts[first] == tree.ends[first - 1]:
            previous = tree.token_text(first - 1)
            if not (previous[-1].isalnum() or previous in ("#", "'", "’")):
                break
            first -= 1
        return first

    def _negates(self, i: int) -> bool:
        word = self._tree.lower[i]
        # "not only good" is praise; "nothing" stands for a thing, not for a negation.
        if self._tree.lower[i + 1 : i + 2] == ["only"] or word in _NO_NEGATION:
            return False
        return word in NEGATORS or self._tree.rels[i] == "neg" or self._is_split_negation(i)

    def _is_split_negation(self, i: int) -> bool:
        """Whether it is the `t` of a "don ' t" that was taken apart."""
        lower = self._tree.lower
        return (
            i >= 2 and lower[i] == "t" and lower[i - 1] in ("'", "’") and lower[i - 2][-1:] == "n"
        )
