"""Everything that is decided before the first step: model, rows, lines, lengths.

Knows nothing of optimisers. Rows that cannot be used are told with their names and reasons; none is
cut to fit.

    prepared = prepare(recipe); prepared.lines[0]
"""

import functools
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gen_msa import media
from gen_msa.backends.local import family
from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.pictures import Expander, Look, stacked
from gen_msa.backends.local.session import BAD_REQUEST
from gen_msa.builtin import cache_folder
from gen_msa.errors import UserError
from gen_msa.finetuning.branches import Sequence, alone, joined
from gen_msa.finetuning.encode import Encoded, Encoder
from gen_msa.finetuning.loss import Weigher
from gen_msa.finetuning.recipe import Recipe
from gen_msa.finetuning.rows import Sample, gather
from gen_msa.finetuning.vision import Memory, Recalled


@dataclass
class Prepared:
    """The training side of a run, ready for batches."""

    encoder: Encoder
    weigher: Weigher
    lines: list[list[Sequence]] = field(default_factory=list)
    """For each post its lines: one if its rows could be joined."""
    sources: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """For each post the tokens of its lines."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    without_reason: int = 0
    notes: tuple[str, ...] = ()
    """What is to be told of further tasks and of a teacher's probabilities."""
    separate: str = ""
    """Why rows are not joined into branches, or ""."""
    memory: Memory | None = None
    """What the frozen vision tower says of the rows' pictures."""

    def pictures(self, lines: Many[Sequence]) -> tuple[dict[str, torch.Tensor], Recalled | None]:
        """The pixels of a batch's lines, or stand-ins and what the tower said of them."""
        rows = [line.rows[0] for line in lines if line.rows[0].asked]
        if self.memory is None:
            return stacked([self.encoder.tensors(r) for r in rows]), None
        recalled = self.memory.load([self.memory.key(r.asked.pictures) for r in rows if r.asked])
        return recalled.tensors, recalled


def prepare(
    recipe: Recipe, model: Any, processor: Any, *, separate: str = "", look: Look | None = None
) -> Prepared:
    """Gather, encode and join the rows of a recipe for a model that is adapted already.

    `separate`: why rows cannot be joined (`why_separate`, of the model as it was opened).
    """
    layout = Layout(processor)
    expander = Expander(layout, look or media.load, family.picture_ids(model, processor))
    encoder = Encoder(layout, expander, _room(recipe, model))
    gathered = gather(recipe, sees_pictures=layout.sees_pictures)
    found = Prepared(
        encoder,
        Weigher.of(recipe.loss, (r for s in gathered.samples for r in s.rows)),
        refused=gathered.refused,
        without_reason=gathered.without_reason,
        notes=gathered.notes(softly=recipe.loss.soft > 0),
        separate=separate,
        memory=_memory(recipe, model, processor),
    )
    for sample in gathered.samples:
        _encode(sample, found)
    if not found.lines:
        name, reason = found.refused[0]
        raise UserError(f"no row can be used; the first, {name}: {reason}")
    return found


def why_separate(recipe: Recipe, model: Any) -> str:
    """Why the rows of a post cannot be branches of one sequence with this model, or ""."""
    if not recipe.levers.branches:
        return "not asked for"
    if recipe.attn_implementation == "flash_attention_2":
        return "flash_attention_2 takes no block mask"
    with torch.no_grad():
        return family.why_plain(model)


def asked_for(model: Any, recipe: Recipe) -> tuple[bool, torch.dtype]:
    """Whether the model is to be given positions, and the dtype its attention is computed in.

    Models whose positions have three axes (mRoPE) make their own from the pictures' grids.
    """
    takes = "position_ids" in family.takes(model) and family.rope_owner(model) is None
    low = recipe.bf16 or model.dtype == torch.bfloat16
    return takes, torch.bfloat16 if low else model.dtype


def _encode(sample: Sample, into: Prepared) -> None:
    rows: list[Encoded] = []
    for row in sample.rows:
        try:
            encoded = into.encoder.encode(row)
        except (*BAD_REQUEST, media.PictureProblem) as e:
            into.refused.append((row.name, f"{type(e).__name__}: {e}"))
            continue
        if into.memory and encoded.asked:
            pixels = functools.partial(into.encoder.expander.expand, encoded.asked)
            into.memory.keep(encoded.asked.pictures, pixels)
        rows.append(encoded)
    if not rows:
        return
    lines = [alone(r) for r in rows] if into.separate else joined(rows)
    into.lines.append(lines)
    into.sources.append(sample.source)
    # Of the joined form in either case, so that the lever changes no batch.
    into.lengths.append(sum(len(s.ids) for s in (joined(rows) if into.separate else lines)))


def _memory(recipe: Recipe, model: Any, processor: Any) -> Memory | None:
    where = recipe.levers.feature_cache
    if not where or not hasattr(processor, "image_processor"):
        return None
    folder = cache_folder() / "features" if where == "auto" else Path(where)
    low = recipe.bf16 or any(p.dtype == torch.bfloat16 for p in model.parameters())
    return Memory(model, processor, folder, autocast=torch.bfloat16 if low else None)


def _room(recipe: Recipe, model: Any) -> int:
    window = getattr(family.text_config(model), "max_position_embeddings", None)
    return min(recipe.max_length, window or recipe.max_length)
