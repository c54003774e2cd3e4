"""Rows with their pictures: the processor's pixel tensors, and its long runs of picture tokens.

The processor is called once for a post's pictures; the other rows of the post take the pictures'
tokens from that call and only their own words anew. Knows no model.

    expander = Expander(layout, load)
    expander.expand(row).ids
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from gen_msa.backends.hf.batching import TokenizedRequest, common_prefix_length
from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.chat import ImageInput

MAX_CACHED_POSTS = 32
"""Posts whose pixels are kept at a time."""

ImageLoader = Callable[[ImageInput], Any]
"""Gives the PIL image of an admitted picture."""


class ModelInputs(NamedTuple):
    """A row as the model takes it."""

    ids: list[int]
    per_token: dict[str, list[int]]
    """Further facts a family wants for each token (`token_type_ids`, `mm_token_type_ids`).

    Where a family reads its prompt both ways, tokens of the answer are 1 in `token_type_ids`.
    """
    tensors: dict[str, torch.Tensor]
    """Pixels and what belongs to them; the first axis runs over pictures, patches or rows."""


class ImageExpander:
    """Turns rows into model inputs; keeps the pixels of the last posts."""

    def __init__(
        self, chat_tokenizer: ChatTokenizer, load_image: ImageLoader, placeholders: frozenset[int]
    ) -> None:
        self.chat_tokenizer = chat_tokenizer
        self.load_image = load_image
        self.placeholders = placeholders
        self._cache: OrderedDict[tuple[ImageInput, ...], tuple[list[int], ModelInputs]] = (
            OrderedDict()
        )
        # A processor that makes labels tells prompt from answer, and its model reads the prompt
        # both ways (PaliGemma).
        names = set(getattr(chat_tokenizer.processor, "model_input_names", ()))
        self._bidirectional_prompt = names >= {"labels", "token_type_ids"}

    def expand(self, row: TokenizedRequest) -> ModelInputs:
        """The row with its pictures. Raises what the picture loader or the processor raises."""
        if not row.images:
            # Without a picture such a model reads one way, whatever stands beside it in a batch.
            token_types = (
                {"token_type_ids": [1] * len(row.ids)} if self._bidirectional_prompt else {}
            )
            return ModelInputs(list(row.ids), token_types, {})
        cached = self._cache.get(row.images)
        inputs = self._extend_inputs(*cached, row.ids) if cached else None
        if inputs is None:
            raw_ids = self.chat_tokenizer.tokenize(row.text)
            processed = self._process(row)
            self._cache[row.images] = raw_ids, processed
            if len(self._cache) > MAX_CACHED_POSTS:
                self._cache.popitem(last=False)
            inputs = self._extend_inputs(raw_ids, processed, row.ids)
        if inputs is None:
            raise ValueError("the answer's lead cannot be joined to this model's picture tokens")
        return self._mark_answer_tokens(row, inputs) if self._bidirectional_prompt else inputs

    def _mark_answer_tokens(self, row: TokenizedRequest, inputs: ModelInputs) -> ModelInputs:
        """The row with the words of its answer marked, so that the prompt does not see them."""
        n_answer = len(row.ids) - common_prefix_length(
            self.chat_tokenizer.tokenize(row.text), row.ids
        )
        token_types = (
            inputs.per_token["token_type_ids"][: len(inputs.ids) - n_answer] + [1] * n_answer
        )
        return inputs._replace(per_token={**inputs.per_token, "token_type_ids": token_types})

    def _process(self, row: TokenizedRequest) -> ModelInputs:
        images = [self.load_image(p) for p in row.images]
        add_special_tokens = self.chat_tokenizer.adds_special(row.text)
        out = self.chat_tokenizer.processor(
            text=[row.text],
            images=[images],
            return_tensors="pt",
            add_special_tokens=add_special_tokens,
        )
        shape = out["input_ids"].shape
        extras = {
            k: v for k, v in out.items() if k not in ("input_ids", "attention_mask", "labels")
        }
        per_token = {k: v[0].tolist() for k, v in extras.items() if v.shape == shape}
        tensors = {k: v for k, v in extras.items() if k not in per_token}
        return ModelInputs(out["input_ids"][0].tolist(), per_token, tensors)

    def _extend_inputs(
        self, raw_ids: list[int], cached: ModelInputs, ids: Sequence[int]
    ) -> ModelInputs | None:
        """`known` with the words of `ids` where they leave `raw`; None if a picture is touched."""
        n_common = common_prefix_length(raw_ids, ids)
        n_dropped, new_ids = len(raw_ids) - n_common, list(ids[n_common:])
        kept_ids = cached.ids[: len(cached.ids) - n_dropped]
        dropped_ids = cached.ids[len(cached.ids) - n_dropped :]
        if dropped_ids != raw_ids[n_common:] or self.placeholders.intersection(
            dropped_ids + new_ids
        ):
            return None
        per_token = {
            k: [*v[: len(kept_ids)], *[v[-1]] * len(new_ids)] for k, v in cached.per_token.items()
        }
        return ModelInputs(kept_ids + new_ids, per_token, cached.tensors)


def stack_tensors(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The tensors of several rows end to end; other axes are padded with zeros to the longest."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _concat_padded([p[name] for p in parts if name in p]) for name in names}


def _concat_padded(tensors: list[torch.Tensor]) -> torch.Tensor:
    sizes = [max(t.shape[d] for t in tensors) for d in range(1, tensors[0].dim())]
    padded = []
    for t in tensors:
        buffer = t.new_zeros((t.shape[0], *sizes))
        buffer[tuple(slice(0, n) for n in t.shape)] = t
        padded.append(buffer)
    return torch.cat(padded)
