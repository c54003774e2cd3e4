"""ROUGE-1, -2, -L and -Lsum F1 of explanations against the reference, equal to rouge-score.

rouge-score's own tokenizer is for English only: it keeps a-z and 0-9, so Chinese becomes empty and
café becomes caf. Other languages use `tokenize` of `_reference_based`. For texts of one line
ROUGE-Lsum equals ROUGE-L; they differ if sentences are on lines of their own. Source: Lin (2004).

    metrics["rouge"](language="fr").row_statistics(pairs)
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from pydantic import Field

from gen_msa.errors import UserError
from gen_msa.metrics import _reference_based as references
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._reference_based import (
    LANGUAGE_PATTERN,
    UNSPACED,
    TextPair,
    check_language,
    tokenize,
)
from gen_msa.metrics._thresholds import Array
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.settings import Settings, build

Tokens = tuple[str, ...]


class RougeOptions(Settings):
    """Tokenization."""

    language: str = Field(default="en", pattern=LANGUAGE_PATTERN)
    use_stemmer: bool | None = None
    """Porter's stemmer for English words of more than three letters; None: on for English."""


@metrics.register
class Rouge:
    """Mean F1 over rows, each 0..1."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("rougeL", "mean F1 of the longest common subsequence; missing is 0"),
        MetricSpec("rouge1", "mean F1 of shared words; a missing explanation is 0"),
        MetricSpec("rouge2", "mean F1 of shared bigrams; missing is 0"),
        MetricSpec("rougeLsum", "as rougeL, line by line, summed over lines; missing is 0"),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(RougeOptions, options, "metric rouge")
        language, stemmer_option = self.options.language, self.options.use_stemmer
        if stemmer_option and language != "en":
            raise UserError(
                f"the stemmer of rouge is Porter's, which does not support {language!r}",
                hint="omit use_stemmer",
            )
        use_stemmer = stemmer_option is not False and language == "en"
        scorer = references.import_optional("rouge_score.rouge_scorer", "rouge-score", "eval")
        self.tokenize = lru_cache(maxsize=1 << 15)(_tokenizer(language, use_stemmer))
        # Texts of several lines are rare and their rule is intricate: the package scores those.
        self._lsum_scorer = scorer.RougeScorer(["rougeLsum"], tokenizer=self)
        kind = "rouge-score" if language == "en" else "char" if language in UNSPACED else "unicode"
        stemmer_label = "yes" if use_stemmer else "no"
        self.signature = (
            f"rouge lang:{language}|words:{kind}|stemmer:{stemmer_label}"
            f"|version:{version('rouge-score')}"
        )

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns: scored, then F1 of each metric, in order."""
        return references.score_rows(pairs, self._measure, len(self.specs))

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return means over scored rows.

        Args:
            sums: Sums of `row_statistics`, `(..., 1 + metrics)`; each metric is `(...,)`.
        """
        return references.column_means(sums, [f.name for f in self.specs])

    def _measure(self, texts: list[TextPair]) -> list[list[float]]:
        check_language((gold for _, gold in texts), self.options.language)
        return [self._score_pair(prediction, gold) for prediction, gold in texts]

    def _score_pair(self, prediction: str, gold: str) -> list[float]:
        prediction_tokens, gold_tokens = self.tokenize(prediction), self.tokenize(gold)
        lcs_f1 = f1(
            lcs_length(prediction_tokens, gold_tokens), len(prediction_tokens), len(gold_tokens)
        )
        unigram_f1, bigram_f1 = (_ngram_f1(prediction_tokens, gold_tokens, n) for n in (1, 2))
        multi_line = "\n" in prediction or "\n" in gold
        lsum_f1 = (
            self._lsum_scorer.score(gold, prediction)["rougeLsum"].fmeasure
            if multi_line
            else lcs_f1
        )
        return [lcs_f1, unigram_f1, bigram_f1, lsum_f1]


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Each row of the table is held as the bits of one integer (Crochemore et al. 2001).

    Args:
        a: Words.
        b: Words.
    """
    positions: dict[str, int] = {}
    for i, word in enumerate(a):
        positions[word] = positions.get(word, 0) | 1 << i
    full = (1 << len(a)) - 1
    unmatched = full
    for word in b:
        matched = unmatched & positions.get(word, 0)
        unmatched = (unmatched + matched | unmatched - matched) & full
    return len(a) - unmatched.bit_count()


def f1(n_shared: int, n_predicted: int, n_gold: int) -> float:
    """Return the harmonic mean of precision and recall from counts; 0 if nothing is shared.

    Args:
        n_shared: Items of both sides.
        n_predicted: Items of the prediction.
        n_gold: Items of the reference.
    """
    return 2 * n_shared / (n_predicted + n_gold) if n_shared else 0.0


def _ngram_f1(prediction_tokens: Tokens, gold_tokens: Tokens, n: int) -> float:
    prediction_counts, gold_counts = (
        Counter(zip(*(w[i:] for i in range(n)), strict=False))
        for w in (prediction_tokens, gold_tokens)
    )
    shared = sum(
        min(k, gold_counts[gram]) for gram, k in prediction_counts.items() if gram in gold_counts
    )
    return f1(shared, prediction_counts.total(), gold_counts.total())


def _tokenizer(language: str, use_stemmer: bool) -> Any:
    if language != "en":
        return lambda text: tokenize(text, language)
    rouge_tokenize = references.import_optional(
        "rouge_score.tokenize", "rouge-score", "eval"
    ).tokenize
    stemmer = CachedStemmer() if use_stemmer else None
    return lambda text: tuple(rouge_tokenize(text, stemmer))


class CachedStemmer:
    """Porter's stemmer of nltk, a dependency of rouge-score; each word is stemmed once."""

    def __init__(self) -> None:
        self.stem = lru_cache(maxsize=1 << 16)(_porter().stem)


@cache
def _porter() -> Any:
    return references.import_optional("nltk.stem.porter", "nltk", "eval").PorterStemmer()
