"""Reading the prompts of a batch: whole, or what they share once and then what is each row's own.

Shared, the instruction is read once for a whole call, each post with its pictures once for all its
rows, and then the rows' own ends together. Knows no template and no answers.

    Reader(engine, placeholders, share=True).read(batch, instruction)
"""

from collections.abc import Sequence

import torch

from gen_msa.backends.local import plan
from gen_msa.backends.local.engine import Engine
from gen_msa.backends.local.past import State, select
from gen_msa.backends.local.pictures import Expanded, stacked
from gen_msa.backends.local.plan import Row

Batch = list[list[tuple[Row, Expanded]]]
"""Posts, each with its rows as the model takes them."""


class Reader:
    """Turns batches into states; keeps the past of the instruction it read last."""

    def __init__(self, engine: Engine, placeholders: frozenset[int], *, share: bool) -> None:
        self.engine = engine
        self.placeholders = placeholders
        self.share = share
        self._instruction: tuple[tuple[int, ...], State] | None = None

    def forget(self) -> None:
        """Give back the memory of the instruction's past."""
        self._instruction = None

    def read(self, batch: Batch, instruction: tuple[int, ...]) -> State:
        """The state after all prompts of the batch, in the order of its rows."""
        posts = [[x.ids for _, x in post] for post in batch]
        known = len(instruction)
        if any(tuple(ids[:known]) != instruction for post in posts for ids in post):
            known = 0
        heads = [self._head(ids) for ids in posts] if self.share else []
        # A post whose rows part before its pictures end cannot be read in pieces.
        if None in heads or (known == 0 and 0 in heads) or not self.share:
            parts = [x for post in batch for _, x in post]
            return self.engine.start([x.ids for x in parts], None, self._extras(parts))
        extras = self._extras([post[0][1] for post in batch])
        return self._shared(posts, [h or 0 for h in heads], extras, instruction[:known])

    def _head(self, rows: list[list[int]]) -> int | None:
        """How many tokens the rows of a post share, pictures included; None if they do not."""
        end = min(len(row) for row in rows) - 1
        for row in rows[1:]:
            end = min(end, plan.common(rows[0], row))
        return None if any(self.placeholders.intersection(row[end:]) for row in rows) else end

    def _shared(
        self,
        posts: list[list[list[int]]],
        heads: list[int],
        extras: dict[str, torch.Tensor],
        instruction: tuple[int, ...],
    ) -> State:
        known = len(instruction)
        past = select(self._once(instruction), [0] * len(posts)) if known else None
        if all(len(rows) == 1 for rows in posts):
            return self.engine.start([rows[0][known:] for rows in posts], past, extras)
        middles = [rows[0][known:end] for rows, end in zip(posts, heads, strict=True)]
        if past is None or any(middles):
            past = self.engine.start(middles, past, extras)
        owners = [i for i, rows in enumerate(posts) for _ in rows]
        tails = [row[end:] for rows, end in zip(posts, heads, strict=True) for row in rows]
        return self.engine.start(tails, select(past, owners))

    def _once(self, instruction: tuple[int, ...]) -> State:
        if self._instruction is None or self._instruction[0] != instruction:
            self._instruction = instruction, self.engine.start([instruction])
        return self._instruction[1]

    def _extras(self, parts: Sequence[Expanded]) -> dict[str, torch.Tensor]:
        """Pixels on the model's device, and facts of tokens, left-padded like the tokens."""
        model = self.engine.model
        tensors = stacked([p.tensors for p in parts])
        width = max(len(p.ids) for p in parts)
        for name in {n: None for p in parts for n in p.aligned}:
            rows = [p.aligned.get(name, [0] * len(p.ids)) for p in parts]
            tensors[name] = torch.tensor([[0] * (width - len(r)) + r for r in rows])
        if self.share:
            # A family whose prefixes can be shared looks at pixels only.
            tensors = {n: t for n, t in tensors.items() if not n.endswith("token_type_ids")}
        floats = {n: t.to(model.dtype) for n, t in tensors.items() if t.is_floating_point()}
        return {n: t.to(model.device) for n, t in {**tensors, **floats}.items()}
