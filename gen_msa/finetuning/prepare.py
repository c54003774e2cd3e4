"""Prepares the data of a run before the first step: rows, tokens, packed sequences, lengths.

Rows that cannot be used are recorded with their names and reasons; none is truncated.

    prepared = prepare(recipe, model, processor)
    prepared.sequences[0], prepared.lengths[0]
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gen_msa import media
from gen_msa.backends.hf import model_traits
from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.backends.hf.generate import REQUEST_ERRORS
from gen_msa.backends.hf.image_inputs import ImageExpander, ImageLoader, stack_tensors
from gen_msa.builtin import cache_folder
from gen_msa.errors import UserError
from gen_msa.finetuning.dataset import PostExamples, build_dataset
from gen_msa.finetuning.feature_cache import CachedFeatures, VisionFeatureCache
from gen_msa.finetuning.loss import LossWeights
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.finetuning.tokenization import (
    ExampleTokenizer,
    PackedSequence,
    TokenizedExample,
    pack,
    unpacked,
)


@dataclass
class PreparedRun:
    """The data of a run, ready for batches."""

    example_tokenizer: ExampleTokenizer
    loss_weights: LossWeights
    sequences: list[list[PackedSequence]] = field(default_factory=list)
    """For each post its sequences: one if its rows could be packed."""
    sources: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """For each post the tokens of its sequences."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    without_rationale: int = 0
    unused: Counter[str] = field(default_factory=Counter)
    """What of the sources was not used, by kind: rows, images, columns, labels."""
    notes: tuple[str, ...] = ()
    """Notes on extra tasks and a teacher's probabilities, to be printed."""
    unpacked_reason: str = ""
    """Why rows are not packed, or ""."""
    feature_cache: VisionFeatureCache | None = None
    """Cached outputs of the frozen vision encoder for the rows' images."""

    def image_inputs(
        self, sequences: Sequence[PackedSequence]
    ) -> tuple[dict[str, torch.Tensor], CachedFeatures | None]:
        """Return the pixels of a batch, or placeholders and the cached features of its images."""
        rows = [sequence.rows[0] for sequence in sequences if sequence.rows[0].expander_row]
        if self.feature_cache is None:
            return stack_tensors([self.example_tokenizer.pixel_inputs(r) for r in rows]), None
        cached = self.feature_cache.load(
            [self.feature_cache.key(r.expander_row.images) for r in rows if r.expander_row]
        )
        return cached.tensors, cached


def prepare(
    recipe: FinetuneRecipe,
    model: Any,
    processor: Any,
    *,
    unpacked_reason: str = "",
    load_image: ImageLoader | None = None,
) -> PreparedRun:
    """Build, tokenize and pack the rows of a recipe for a wrapped model.

    Args:
        recipe: The recipe of the run.
        model: The model; its frozen vision encoder computes cached features.
        processor: Its processor, or its tokenizer for a text model.
        unpacked_reason: Why rows cannot be packed (`packing_unsupported_reason`), or "".
        load_image: Loads images; from disk by default.

    Returns:
        The sequences of every usable post, and the rows that were skipped with their reasons.

    Raises:
        UserError: If no row can be used, or a source is invalid.
    """
    layout = ChatTokenizer(processor)
    expander = ImageExpander(
        layout, load_image or media.load_image, model_traits.image_token_ids(model, processor)
    )
    example_tokenizer = ExampleTokenizer(layout, expander, _max_length(recipe, model))
    dataset = build_dataset(recipe, supports_images=layout.supports_images)
    prepared = PreparedRun(
        example_tokenizer,
        LossWeights.from_rows(recipe.loss, (r for s in dataset.samples for r in s.rows)),
        skipped=dataset.skipped,
        without_rationale=dataset.without_rationale,
        unused=dataset.unused,
        notes=dataset.notes(soft_labels=recipe.loss.soft > 0),
        unpacked_reason=unpacked_reason,
        feature_cache=_open_feature_cache(recipe, model, processor),
    )
    for sample in dataset.samples:
        _tokenize_post(sample, prepared)
    if not prepared.sequences:
        name, reason = prepared.skipped[0]
        raise UserError(f"no row can be used; the first, {name}: {reason}")
    return prepared


def packing_unsupported_reason(recipe: FinetuneRecipe, model: Any) -> str:
    """Return why the rows of a post cannot be packed with this model, or "".

    Args:
        recipe: Attention implementation and whether packing is enabled.
        model: The model before it is wrapped.
    """
    if not recipe.optimizations.prefix_packing:
        return "disabled by the recipe"
    if recipe.attn_implementation == "flash_attention_2":
        return "flash_attention_2 takes no block mask"
    with torch.no_grad():
        return model_traits.prefix_sharing_unsupported_reason(model)


def attention_inputs(model: Any, recipe: FinetuneRecipe) -> tuple[bool, torch.dtype]:
    """Return whether the model takes `position_ids`, and the dtype of its attention.

    Models with three-axis positions (mRoPE) compute their own from the image grids.

    Args:
        model: The model before it is wrapped.
        recipe: Whether mixed precision is used.
    """
    takes_positions = (
        "position_ids" in model_traits.forward_params(model)
        and model_traits.rope_module(model) is None
    )
    use_bf16 = recipe.bf16 or model.dtype == torch.bfloat16
    return takes_positions, torch.bfloat16 if use_bf16 else model.dtype


def _tokenize_post(sample: PostExamples, prepared: PreparedRun) -> None:
    rows: list[TokenizedExample] = []
    for row in sample.rows:
        try:
            tokenized = prepared.example_tokenizer.tokenize(row)
        except (*REQUEST_ERRORS, media.ImageError) as e:
            prepared.skipped.append((row.name, f"{type(e).__name__}: {e}"))
            continue
        if prepared.feature_cache and tokenized.expander_row:
            pixels = functools.partial(
                prepared.example_tokenizer.expander.expand, tokenized.expander_row
            )
            prepared.feature_cache.ensure(tokenized.expander_row.images, pixels)
        rows.append(tokenized)
    if not rows:
        return
    sequences = [unpacked(r) for r in rows] if prepared.unpacked_reason else pack(rows)
    prepared.sequences.append(sequences)
    prepared.sources.append(sample.source)
    # Of the packed form in either case, so that packing changes no batch.
    prepared.lengths.append(
        sum(len(s.ids) for s in (pack(rows) if prepared.unpacked_reason else sequences))
    )


def _open_feature_cache(
    recipe: FinetuneRecipe, model: Any, processor: Any
) -> VisionFeatureCache | None:
    cache_dir = recipe.optimizations.feature_cache
    if not cache_dir or not hasattr(processor, "image_processor"):
        return None
    folder = cache_folder() / "features" if cache_dir == "auto" else Path(cache_dir)
    use_bf16 = recipe.bf16 or any(p.dtype == torch.bfloat16 for p in model.parameters())
    return VisionFeatureCache(
        model, processor, folder, autocast=torch.bfloat16 if use_bf16 else None
    )


def _max_length(recipe: FinetuneRecipe, model: Any) -> int:
    window = getattr(model_traits.text_config(model), "max_position_embeddings", None)
    return min(recipe.max_length, window or recipe.max_length)
