"""Expand the images of requests: the processor's pixel tensors, and its runs of image tokens.

The processor is called once for the images of a post; the other requests about the post reuse those
tokens and tensors and tokenize only their own text.

    expander = ImageExpander(chat_tokenizer, load_image, placeholders)
    expander.expand(row).ids
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from gen_msa.backends.hf.chat_tokens import ChatTokenizer, TokenizedRequest, common_prefix_length
from gen_msa.chat import ImageInput

MAX_CACHED_POSTS = 32
"""Posts whose pixels are cached."""

ImageLoader = Callable[[ImageInput], Any]
"""Loads an admitted image as a PIL image."""


class ModelInputs(NamedTuple):
    """A request as the model takes it."""

    ids: list[int]
    per_token: dict[str, list[int]]
    """Further per-token inputs of a model family (`token_type_ids`, `mm_token_type_ids`).

    With bidirectional attention in the prompt, tokens of the answer are 1 in `token_type_ids`.
    """
    tensors: dict[str, torch.Tensor]
    """Pixels and related tensors; the first axis runs over images, patches or rows."""


class ImageExpander:
    """Turns requests into model inputs; caches the pixels of the last posts."""

    def __init__(
        self, chat_tokenizer: ChatTokenizer, load_image: ImageLoader, placeholders: frozenset[int]
    ) -> None:
        """Prepare for a model.

        Args:
            chat_tokenizer: Tokenizer of the model.
            load_image: Loads an image as a PIL image.
            placeholders: Token ids that stand for an image.
        """
        self.chat_tokenizer = chat_tokenizer
        self.load_image = load_image
        self.placeholders = placeholders
        self._cache: OrderedDict[tuple[ImageInput, ...], tuple[list[int], ModelInputs]] = (
            OrderedDict()
        )
        # A processor that makes labels separates prompt and answer, and its model attends to the
        # prompt in both directions (PaliGemma).
        names = set(getattr(chat_tokenizer.processor, "model_input_names", ()))
        self._bidirectional_prompt = names >= {"labels", "token_type_ids"}

    def expand(self, row: TokenizedRequest) -> ModelInputs:
        """Expand the images of a request.

        Args:
            row: The request in tokens.

        Returns:
            Token ids and tensors.

        Raises:
            ImageError: An image cannot be loaded.
            ValueError: The processor refuses the request, or the answer's tokens merge with an
                image's.
        """
        if not row.images:
            # Without an image such a model is causal, whatever other requests are in the batch.
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
            raise ValueError("the start of the answer merges with this model's image tokens")
        return self._mark_answer_tokens(row, inputs) if self._bidirectional_prompt else inputs

    def _mark_answer_tokens(self, row: TokenizedRequest, inputs: ModelInputs) -> ModelInputs:
        """Mark the tokens of the answer, which the prompt must not attend to."""
        n_answer = len(row.ids) - common_prefix_length(
            self.chat_tokenizer.tokenize(row.text), row.ids
        )
        token_types = (
            inputs.per_token["token_type_ids"][: len(inputs.ids) - n_answer] + [1] * n_answer
        )
        return inputs._replace(per_token={**inputs.per_token, "token_type_ids": token_types})

    def _process(self, row: TokenizedRequest) -> ModelInputs:
        images = [self.load_image(i) for i in row.images]
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
        """Replace the tokens of a cached request after the common prefix of `raw_ids` and `ids`.

        Returns None if that would touch an image.
        """
        n_common = common_prefix_length(raw_ids, ids)
        n_dropped, new_ids = len(raw_ids) - n_common, list(ids[n_common:])
        remaining_ids = cached.ids[: len(cached.ids) - n_dropped]
        dropped_ids = cached.ids[len(cached.ids) - n_dropped :]
        if dropped_ids != raw_ids[n_common:] or self.placeholders.intersection(
            dropped_ids + new_ids
        ):
            return None
        per_token = {
            k: [*v[: len(remaining_ids)], *[v[-1]] * len(new_ids)]
            for k, v in cached.per_token.items()
        }
        return ModelInputs(remaining_ids + new_ids, per_token, cached.tensors)


def stack_tensors(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Concatenate the tensors of several requests along the first axis.

    Args:
        parts: Tensors by name, for each request.

    Returns:
        Tensors by name; other axes are padded with zeros to the longest.
    """
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
