"""States of a text encoder on this machine, and how well those of two texts match.

Imports torch and transformers when made. Loads safetensors from a folder, never code and never
anything from elsewhere. Knows nothing of readers or rows.

    Encoder(folder, layer=None, batch=64).matches([("The screen is good.", "A good screen.")])
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gen_msa.errors import UserError
from gen_msa.manifest import sha256

MAX_PIECES = 512
"""Word pieces of a text that are read; the rest is cut."""


class BertscoreEncoder:
    """An encoder and its tokenizer, read from `folder`.

    Raises `UserError` for a folder without safetensors or a layer that is not there.
    """

    def __init__(self, folder: Path, layer: int | None, batch: int) -> None:
        import torch
        import transformers

        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise UserError(f"{folder} holds no encoder (*.safetensors)", hint="name its folder")
        self._torch = torch
        local = {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
        model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **local)
        self._model = model.float().eval()
        layers = self._model.config.num_hidden_layers
        if layer is not None and layer > layers:
            raise UserError(f"{folder} has {layers} layers, not {layer}", hint="name one it has")
        self._layer = layer or layers
        self._batch = batch
        self._max_length = min(MAX_PIECES, self._tokenizer.model_max_length)
        self.signature = (
            f"sha256:{_weights_hash(weights)[:12]}|layer:{self._layer}|longest:{self._max_length} pieces"
        )

    def precision_recall(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[float, float]]:
        """Precision and recall of each pair (said, gold), in order.

        Each distinct text is encoded once, and forgotten when no later pair has it.
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
        """Unit vectors of each text's pieces (pieces, width), and which of them count."""
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


def _greedy_match(prediction: Any, prediction_mask: Any, gold: Any, gold_mask: Any) -> tuple[float, float]:
    """Mean over counted pieces of the best cosine in the other text; 0 where none counts."""
    if not (prediction_mask.any() and gold_mask.any()):
        return 0.0, 0.0
    cosines = prediction @ gold.T
    best_for_prediction = cosines.max(dim=1).values[prediction_mask]
    best_for_gold = cosines.max(dim=0).values[gold_mask]
    return best_for_prediction.mean().item(), best_for_gold.mean().item()


def _weights_hash(files: Sequence[Path]) -> str:
    """One hash of all files, which is the file's own where there is but one."""
    hashes = [sha256(f) for f in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
