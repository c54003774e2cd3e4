"""ROUGE-1, -2, -L and -Lsum F1 of explanations against gold's, as the package rouge-score has them.

English is cut into words by rouge-score itself, which knows a-z and 0-9 alone: to it Chinese is
empty and café is caf. Any other language has its own words (`_words`). For texts of one line
ROUGE-Lsum is ROUGE-L; the two differ when sentences stand on lines of their own.

    metrics["rouge"](language="fr").rows(pairs)
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from pydantic import Field

from gen_msa.errors import UserError
from gen_msa.metrics import _references as references
from gen_msa.metrics._cuts import Array
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._references import Texts
from gen_msa.metrics._words import CODE, UNSPACED, check_language, words
from gen_msa.metrics.base import Figure, metrics
from gen_msa.settings import Settings, build

Words = tuple[str, ...]


class RougeOptions(Settings):
    """How texts become words."""

    language: str = Field(default="en", pattern=CODE)
    use_stemmer: bool | None = None
    """Porter's, for English words of more than three letters. None: on for English."""


@metrics.register
class Rouge:
    """Mean F1 over rows, each 0..1."""

    figures: tuple[Figure, ...] = (
        Figure("rougeL", "mean F1 of the longest common subsequence; missing is 0"),
        Figure("rouge1", "mean F1 of shared words; a missing explanation is 0"),
        Figure("rouge2", "mean F1 of shared pairs of words; missing is 0"),
        Figure("rougeLsum", "as rougeL, line by line, summed over lines; missing is 0"),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(RougeOptions, options, "metric rouge")
        language, stem = self.options.language, self.options.use_stemmer
        if stem and language != "en":
            raise UserError(
                f"the stemmer of rouge is Porter's, which knows no {language!r}",
                mend="leave use_stemmer out",
            )
        stems = stem is not False and language == "en"
        scorer = references.need("rouge_score.rouge_scorer", "rouge-score", "eval")
        self.tokenize = lru_cache(maxsize=1 << 15)(_tokenizer(language, stems))
        # Lines are few and the rule for several is intricate: the package does those.
        self._by_line = scorer.RougeScorer(["rougeLsum"], tokenizer=self)
        kind = "rouge-score" if language == "en" else "char" if language in UNSPACED else "unicode"
        said = "yes" if stems else "no"
        self.signature = (
            f"rouge lang:{language}|words:{kind}|stemmer:{said}|version:{version('rouge-score')}"
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, then F1 of each figure in order."""
        return references.rows(pairs, self._measure, len(self.figures))

    def values(self, sums: Array) -> dict[str, Array]:
        """Means over scored rows."""
        return references.means(sums, [f.name for f in self.figures])

    def _measure(self, texts: list[Texts]) -> list[list[float]]:
        check_language((gold for _, gold in texts), self.options.language)
        return [self._of(said, gold) for said, gold in texts]

    def _of(self, said: str, gold: str) -> list[float]:
        ours, theirs = self.tokenize(said), self.tokenize(gold)
        longest = f1(common_subsequence(ours, theirs), len(ours), len(theirs))
        one, two = (_overlap(ours, theirs, n) for n in (1, 2))
        lines = "\n" in said or "\n" in gold
        by_line = self._by_line.score(gold, said)["rougeLsum"].fmeasure if lines else longest
        return [longest, one, two, by_line]


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time as bits of one int."""
    where: dict[str, int] = {}
    for i, word in enumerate(a):
        where[word] = where.get(word, 0) | 1 << i
    full = (1 << len(a)) - 1
    unmatched = full
    for word in b:
        hit = unmatched & where.get(word, 0)
        unmatched = (unmatched + hit | unmatched - hit) & full
    return len(a) - unmatched.bit_count()


def f1(shared: int, said: int, gold: int) -> float:
    """Harmonic mean of `shared/said` and `shared/gold`; 0 when nothing is shared."""
    return 2 * shared / (said + gold) if shared else 0.0


def _overlap(ours: Words, theirs: Words, n: int) -> float:
    said, gold = (Counter(zip(*(w[i:] for i in range(n)), strict=False)) for w in (ours, theirs))
    shared = sum(min(k, gold[gram]) for gram, k in said.items() if gram in gold)
    return f1(shared, said.total(), gold.total())


def _tokenizer(language: str, stems: bool) -> Any:
    if language != "en":
        return lambda text: words(text, language)
    english = references.need("rouge_score.tokenize", "rouge-score", "eval").tokenize
    stemmer = CachedStemmer() if stems else None
    return lambda text: tuple(english(text, stemmer))


class CachedStemmer:
    """Porter's stemmer of nltk, which comes with rouge-score; each word is stemmed once."""

    def __init__(self) -> None:
        self.stem = lru_cache(maxsize=1 << 16)(_porter().stem)


@cache
def _porter() -> Any:
    return references.need("nltk.stem.porter", "nltk", "eval").PorterStemmer()
