"""From what is prepared to the facts that are told of it: the budget, one row with its mask.

Counts tokens; runs no model.

    budget(prepared, recipe).shared          # 0.38 of the tokens need not be read
"""

from collections.abc import Sequence as Many
from statistics import median
from typing import Any

from gen_msa.finetuning import batches
from gen_msa.finetuning.encode import Encoded
from gen_msa.finetuning.facts import Budget, Shown
from gen_msa.finetuning.preparing import Prepared
from gen_msa.finetuning.recipe import Recipe

CONSIDERED = 50
"""Posts from which the row that is shown is taken: the shortest with a whole answer."""


def budget(prepared: Prepared, recipe: Recipe) -> Budget:
    """What an epoch of these posts costs."""
    lines = [line for post in prepared.lines for line in post]
    rows = [row for line in lines for row in line.rows]
    tokens = sum(len(line.ids) for line in lines)
    marks = prepared.encoder.expander.placeholders
    return Budget(
        posts=len(prepared.lines),
        rows=len(rows),
        tokens=tokens,
        longest=max(prepared.lengths),
        median=int(median(prepared.lengths)),
        limit=prepared.encoder.max_length,
        picture_tokens=sum(token in marks for line in lines for token in line.ids),
        padding=_padding(prepared, recipe),
        shared=1 - tokens / sum(len(row.ids) for row in rows),
        without_reason=prepared.without_reason,
        left_out=tuple(prepared.refused),
    )


def tokens_of_an_epoch(prepared: Prepared, recipe: Recipe) -> float:
    """Tokens fed in an epoch, each source as often as its weight says."""
    return sum(
        recipe.data[s].weight * len(line.ids)
        for s, lines in zip(prepared.sources, prepared.lines, strict=True)
        for line in lines
    )


def rows_of_an_epoch(prepared: Prepared, recipe: Recipe) -> float:
    """Rows learned in an epoch, each source as often as its weight says."""
    return sum(
        recipe.data[s].weight * len(line.rows)
        for s, lines in zip(prepared.sources, prepared.lines, strict=True)
        for line in lines
    )


def shown(prepared: Prepared) -> Shown:
    """A short row with a whole answer, token by token."""
    rows = [r for post in prepared.lines[:CONSIDERED] for line in post for r in line.rows]
    whole = [r for r in rows if r.row.target.complete] or rows
    row = min(whole, key=lambda r: len(r.ids))
    weights = prepared.weigher.weights(row, prepared.weigher.totals([row]))
    silent = row.prompt_length
    return Shown(
        name=row.row.name,
        tokens=words(row, prepared.encoder.layout.tokenizer),
        fields=[*[None] * silent, *row.fields],
        weights=[*[0.0] * silent, *weights],
    )


def words(row: Encoded, tokenizer: Any) -> list[str]:
    """Each token's own share of the text; a letter of several tokens stands at its last one."""
    out: list[str] = []
    start, told = 0, ""
    for i in range(len(row.ids)):
        text = _decoded(tokenizer, row.ids[start : i + 1])
        whole = not text.endswith("\ufffd")
        out.append(text[len(told) :] if whole else "")
        if whole:
            # One token is kept as context: some tokenizers drop a blank at the very beginning.
            start, told = i, _decoded(tokenizer, row.ids[i : i + 1])
    return out


def _decoded(tokenizer: Any, ids: Many[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _padding(prepared: Prepared, recipe: Recipe) -> float:
    """Share of padding in the batches of the first epoch, as one process makes them."""
    places = filled = 0
    for step in batches.epoch(prepared.lengths, prepared.sources, recipe, 0):
        for part in batches.share(step, recipe, 0, 1):
            lengths = [len(line.ids) for post in part for line in prepared.lines[post]]
            width = -(-max(lengths, default=0) // batches.EVEN) * batches.EVEN
            places += len(lengths) * width
            filled += sum(lengths)
    return 1 - filled / places if places else 0.0
