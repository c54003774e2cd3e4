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

LONGEST = 512
"""Word pieces of a text that are read; the rest is cut."""


class Encoder:
    """An encoder and its tokenizer, read from `folder`.

    Raises `UserError` for a folder without safetensors or a layer that is not there.
    """

    def __init__(self, folder: Path, layer: int | None, batch: int) -> None:
        import torch
        import transformers

        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise UserError(f"{folder} holds no encoder (*.safetensors)", mend="name its folder")
        self._torch = torch
        local = {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **local)
        model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **local)
        self._model = model.float().eval()
        layers = self._model.config.num_hidden_layers
        if layer is not None and layer > layers:
            raise UserError(f"{folder} has {layers} layers, not {layer}", mend="name one it has")
        self._layer = layer or layers
        self._batch = batch
        self._longest = min(LONGEST, self._tokenizer.model_max_length)
        self.signature = (
            f"sha256:{_hash(weights)[:12]}|layer:{self._layer}|longest:{self._longest} pieces"
        )

    def matches(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[float, float]]:
        """Precision and recall of each pair (said, gold), in order.

        Each distinct text is encoded once, and forgotten when no later pair has it.
        """
        left = Counter(text for pair in pairs for text in pair)
        states: dict[str, tuple[Any, Any]] = {}
        for at in range(0, len(pairs), self._batch):
            now = pairs[at : at + self._batch]
            new = list(dict.fromkeys(t for pair in now for t in pair if t not in states))
            states |= self._states(new)
            for said, gold in now:
                yield _match(*states[said], *states[gold])
            left.subtract(text for pair in now for text in pair)
            for text in {t for pair in now for t in pair if not left[t]}:
                del states[text]

    def _states(self, texts: Sequence[str]) -> dict[str, tuple[Any, Any]]:
        """Unit vectors of each text's pieces (pieces, width), and which of them count."""
        found: dict[str, tuple[Any, Any]] = {}
        for at in range(0, len(texts), self._batch):
            now = texts[at : at + self._batch]
            asked = self._tokenizer(
                now,
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_special_tokens_mask=True,
                return_tensors="pt",
            )
            marks = asked.pop("special_tokens_mask").bool()
            with self._torch.inference_mode():
                layers = self._model(**asked, output_hidden_states=True).hidden_states
            states = self._torch.nn.functional.normalize(layers[self._layer], dim=-1)
            for text, vectors, mark, kept in zip(
                now, states, marks, asked["attention_mask"].bool(), strict=True
            ):
                found[text] = (vectors[kept].clone(), ~mark[kept])
        return found


def _match(said: Any, ours: Any, gold: Any, theirs: Any) -> tuple[float, float]:
    """Mean over counted pieces of the best cosine in the other text; 0 where none counts."""
    if not (ours.any() and theirs.any()):
        return 0.0, 0.0
    cosines = said @ gold.T
    best_of_said = cosines.max(dim=1).values[ours]
    best_of_gold = cosines.max(dim=0).values[theirs]
    return best_of_said.mean().item(), best_of_gold.mean().item()


def _hash(files: Sequence[Path]) -> str:
    """One hash of all files, which is the file's own where there is but one."""
    hashes = [sha256(f) for f in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
