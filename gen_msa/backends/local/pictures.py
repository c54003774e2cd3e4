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

from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.plan import Row, common
from gen_msa.chat import Picture

KEPT = 32
"""Posts whose pixels are kept at a time."""

Look = Callable[[Picture], Any]
"""Gives the PIL image of an admitted picture."""


class Expanded(NamedTuple):
    """A row as the model takes it."""

    ids: list[int]
    aligned: dict[str, list[int]]
    """Further facts a family wants for each token (`token_type_ids`, `mm_token_type_ids`).

    Where a family reads its prompt both ways, tokens of the answer are 1 in `token_type_ids`.
    """
    tensors: dict[str, torch.Tensor]
    """Pixels and what belongs to them; the first axis runs over pictures, patches or rows."""


class Expander:
    """Turns rows into model inputs; keeps the pixels of the last posts."""

    def __init__(self, layout: Layout, look: Look, placeholders: frozenset[int]) -> None:
        self.layout = layout
        self.look = look
        self.placeholders = placeholders
        self._seen: OrderedDict[tuple[Picture, ...], tuple[list[int], Expanded]] = OrderedDict()
        # A processor that makes labels tells prompt from answer, and its model reads the prompt
        # both ways (PaliGemma).
        names = set(getattr(layout.processor, "model_input_names", ()))
        self._both_ways = names >= {"labels", "token_type_ids"}

    def expand(self, row: Row) -> Expanded:
        """The row with its pictures. Raises what the picture loader or the processor raises."""
        if not row.pictures:
            # Without a picture such a model reads one way, whatever stands beside it in a batch.
            types = {"token_type_ids": [1] * len(row.ids)} if self._both_ways else {}
            return Expanded(list(row.ids), types, {})
        known = self._seen.get(row.pictures)
        found = self._extend(*known, row.ids) if known else None
        if found is None:
            raw = self.layout.ids(row.text)
            fresh = self._processed(row)
            self._seen[row.pictures] = raw, fresh
            if len(self._seen) > KEPT:
                self._seen.popitem(last=False)
            found = self._extend(raw, fresh, row.ids)
        if found is None:
            raise ValueError("the answer's lead cannot be joined to this model's picture tokens")
        return self._one_way(row, found) if self._both_ways else found

    def _one_way(self, row: Row, found: Expanded) -> Expanded:
        """The row with the words of its answer marked, so that the prompt does not see them."""
        own = len(row.ids) - common(self.layout.ids(row.text), row.ids)
        types = found.aligned["token_type_ids"][: len(found.ids) - own] + [1] * own
        return found._replace(aligned={**found.aligned, "token_type_ids": types})

    def _processed(self, row: Row) -> Expanded:
        images = [self.look(p) for p in row.pictures]
        special = self.layout.adds_special(row.text)
        out = self.layout.processor(
            text=[row.text], images=[images], return_tensors="pt", add_special_tokens=special
        )
        shape = out["input_ids"].shape
        rest = {k: v for k, v in out.items() if k not in ("input_ids", "attention_mask", "labels")}
        aligned = {k: v[0].tolist() for k, v in rest.items() if v.shape == shape}
        tensors = {k: v for k, v in rest.items() if k not in aligned}
        return Expanded(out["input_ids"][0].tolist(), aligned, tensors)

    def _extend(self, raw: list[int], known: Expanded, ids: Sequence[int]) -> Expanded | None:
        """`known` with the words of `ids` where they leave `raw`; None if a picture is touched."""
        same = common(raw, ids)
        drop, new = len(raw) - same, list(ids[same:])
        kept = known.ids[: len(known.ids) - drop]
        lost = known.ids[len(known.ids) - drop :]
        if lost != raw[same:] or self.placeholders.intersection(lost + new):
            return None
        aligned = {k: [*v[: len(kept)], *[v[-1]] * len(new)] for k, v in known.aligned.items()}
        return Expanded(kept + new, aligned, known.tensors)


def stacked(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The tensors of several rows end to end; other axes are padded with zeros to the longest."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _end_to_end([p[name] for p in parts if name in p]) for name in names}


def _end_to_end(tensors: list[torch.Tensor]) -> torch.Tensor:
    sizes = [max(t.shape[d] for t in tensors) for d in range(1, tensors[0].dim())]
    padded = []
    for t in tensors:
        room = t.new_zeros((t.shape[0], *sizes))
        room[tuple(slice(0, n) for n in t.shape)] = t
        padded.append(room)
    return torch.cat(padded)
