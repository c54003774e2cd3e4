"""Which words of a tree praise or blame, negation and all. English. Knows nothing of names.

Leanings(tree, taken).of(i)     # -1, 0 or 1: "good" in "not good" is -1
"""

from gen_msa.cues.parsing import Tree
from gen_msa.cues.parsing.words import NEGATORS, is_junk, word_set
from gen_msa.finetuning.reasons._lexicon import valence

_VERBS = word_set("VB VBD VBG VBN VBP VBZ VERB")
_NAMES = word_set("NNP NNPS PROPN")
_ACROSS = word_set("ccomp xcomp")
_NO_NEGATION = word_set("nothing none neither nor")
_ENGLISH = word_set(
    "the a an to of and in is are was for on you i my this that with at it by be from we your our"
)


class Leanings:
    """What the words of one text lean to. `taken` are the tokens of aspects: they say nothing."""

    def __init__(self, tree: Tree, taken: frozenset[int]) -> None:
        self._tree = tree
        self._taken = taken
        letters = [c for c in tree.text if c.isalpha()]
        self._shouted = sum(map(str.isupper, letters)) > len(letters) / 2

    def all(self) -> dict[int, int]:
        """The leaning of every token that may have one."""
        return {i: self.of(i) for i in range(len(self._tree.heads)) if self.speaks(i)}

    def speaks(self, i: int) -> bool:
        """Whether a token can say anything: no aspect, no junk, and no name (Grace, Price)."""
        tree = self._tree
        if i in self._taken or is_junk(tree.lower[i]):
            return False
        name = tree.tags[i] in _NAMES and tree.word(i)[:1].isupper() and not self._shouted
        return not name or (i > 0 and tree.lower[i - 1] == "#")

    def of(self, i: int) -> int:
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
        return -valence(word) if self.negators(i) else valence(word)

    def negators(self, i: int) -> list[int]:
        """The tokens that turn the meaning of `i` round, in order."""
        tree = self._tree
        found = [c for c in tree.children[i] if self._negates(c)]
        if i and self._negates(i - 1):
            found.append(i - 1)
        head = tree.heads[i]
        if head >= 0 and tree.rels[i] in _ACROSS:
            found += [c for c in tree.children[head] if self._negates(c)]
        return sorted(set(found) - {i})

    def readable(self) -> bool:
        """Whether the text may be English; a word of ours says so, a letter of others denies it."""
        foreign = any(c.isalpha() and not c.isascii() for c in self._tree.text)
        return not foreign or not _ENGLISH.isdisjoint(self._tree.lower)

    def whole_word(self, first: int) -> int:
        """Back to where the written word begins: `do` of "don't", `#` of "#happy"."""
        tree = self._tree
        if self._half(first):
            first -= 2
        while first and tree.starts[first] == tree.ends[first - 1]:
            before = tree.word(first - 1)
            if not (before[-1].isalnum() or before in ("#", "'", "’")):
                break
            first -= 1
        return first

    def _negates(self, i: int) -> bool:
        word = self._tree.lower[i]
        # "not only good" is praise; "nothing" stands for a thing, not for a negation.
        if self._tree.lower[i + 1 : i + 2] == ["only"] or word in _NO_NEGATION:
            return False
        return word in NEGATORS or self._tree.rels[i] == "neg" or self._half(i)

    def _half(self, i: int) -> bool:
        """Whether it is the `t` of a "don ' t" that was taken apart."""
        lower = self._tree.lower
        return (
            i >= 2 and lower[i] == "t" and lower[i - 1] in ("'", "’") and lower[i - 2][-1:] == "n"
        )
