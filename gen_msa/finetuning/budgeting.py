"""From what is prepared to the facts that are told of it: the budget, one row with its mask.

Counts tokens; runs no model.

    budget(prepared, recipe).shared          # 0.38 of the tokens need not be read
"""

from collections.abc import Sequence as Many
from statistics import median
from typing import Any

from gen_msa.finetuning import batches
from gen_msa.finetuning.encode import TokenizedExample
from gen_msa.finetuning.facts import EpochStats, TokenPreview
from gen_msa.finetuning.preparing import PreparedRun
from gen_msa.finetuning.recipe import FinetuneRecipe

PREVIEW_POSTS = 50
"""Posts from which the row that is shown is taken: the shortest with a whole answer."""


def epoch_stats(prepared: PreparedRun, recipe: FinetuneRecipe) -> EpochStats:
    """What an epoch of these posts costs."""
    sequences = [sequence for post in prepared.sequences for sequence in post]
    rows = [row for sequence in sequences for row in sequence.rows]
    tokens = sum(len(sequence.ids) for sequence in sequences)
    placeholder_ids = prepared.example_tokenizer.expander.placeholders
    return EpochStats(
        posts=len(prepared.sequences),
        rows=len(rows),
        tokens=tokens,
        longest=max(prepared.lengths),
        median=int(median(prepared.lengths)),
        max_length=prepared.example_tokenizer.max_length,
        image_tokens=sum(token in placeholder_ids for sequence in sequences for token in sequence.ids),
        padding_share=_padding_share(prepared, recipe),
        saved_share=1 - tokens / sum(len(row.ids) for row in rows),
        without_rationale=prepared.without_rationale,
        left_out=tuple(prepared.skipped),
    )


def tokens_per_epoch(prepared: PreparedRun, recipe: FinetuneRecipe) -> float:
    """Tokens fed in an epoch, each source as often as its weight says."""
    return sum(
        recipe.data[s].weight * len(sequence.ids)
        for s, sequences in zip(prepared.sources, prepared.sequences, strict=True)
        for sequence in sequences
    )


def rows_per_epoch(prepared: PreparedRun, recipe: FinetuneRecipe) -> float:
    """Rows learned in an epoch, each source as often as its weight says."""
    return sum(
        recipe.data[s].weight * len(sequence.rows)
        for s, sequences in zip(prepared.sources, prepared.sequences, strict=True)
        for sequence in sequences
    )


def token_preview(prepared: PreparedRun) -> TokenPreview:
    """A short row with a whole answer, token by token."""
    rows = [r for post in prepared.sequences[:PREVIEW_POSTS] for sequence in post for r in sequence.rows]
    complete = [r for r in rows if r.example.target.complete] or rows
    row = min(complete, key=lambda r: len(r.ids))
    weights = prepared.loss_weights.token_weights(row, prepared.loss_weights.step_totals([row]))
    prompt_length = row.prompt_length
    return TokenPreview(
        name=row.example.name,
        tokens=token_texts(row, prepared.example_tokenizer.layout.tokenizer),
        fields=[*[None] * prompt_length, *row.fields],
        weights=[*[0.0] * prompt_length, *weights],
    )


def token_texts(row: TokenizedExample, tokenizer: Any) -> list[str]:
    """Each token's own share of the text; a letter of several tokens stands at its last one."""
    texts: list[str] = []
    start, decoded = 0, ""
    for i in range(len(row.ids)):
        text = _decode(tokenizer, row.ids[start : i + 1])
        is_complete = not text.endswith("\ufffd")
        texts.append(text[len(decoded) :] if is_complete else "")
        if is_complete:
            # One token is kept as context: some tokenizers drop a blank at the very beginning.
            start, decoded = i, _decode(tokenizer, row.ids[i : i + 1])
    return texts


def _decode(tokenizer: Any, ids: Many[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _padding_share(prepared: PreparedRun, recipe: FinetuneRecipe) -> float:
    """Share of padding in the batches of the first epoch, as one process makes them."""
    capacity = used = 0
    for step in batches.epoch_steps(prepared.lengths, prepared.sources, recipe, 0):
        for part in batches.rank_batches(step, recipe, 0, 1):
            lengths = [len(sequence.ids) for post in part for sequence in prepared.sequences[post]]
            width = -(-max(lengths, default=0) // batches.PAD_MULTIPLE) * batches.PAD_MULTIPLE
            capacity += len(lengths) * width
            used += sum(lengths)
    return 1 - used / capacity if capacity else 0.0
