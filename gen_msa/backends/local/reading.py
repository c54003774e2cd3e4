"""Reading the prompts of a batch: whole, or what they share once and then what is each row's own.

Shared, the instruction is read once for a whole call, each post with its pictures once for all its
rows, and then the rows' own ends together. Knows no template and no answers.

    Reader(engine, placeholders, share=True).read(batch, instruction)
"""

from collections.abc import Sequence

import torch

from gen_msa.backends.local import plan
from gen_msa.backends.local.engine import HfEngine
from gen_msa.backends.local.past import DecodeState, select_rows
from gen_msa.backends.local.pictures import ModelInputs, stack_tensors
from gen_msa.backends.local.plan import TokenizedRequest

PrefillBatch = list[list[tuple[TokenizedRequest, ModelInputs]]]
"""Posts, each with its rows as the model takes them."""


class Prefiller:
    """Turns batches into states; keeps the past of the instruction it read last."""

    def __init__(self, engine: HfEngine, placeholders: frozenset[int], *, share: bool) -> None:
        self.engine = engine
        self.placeholders = placeholders
        self.share = share
        self._instruction: tuple[tuple[int, ...], DecodeState] | None = None

    def clear(self) -> None:
        """Give back the memory of the instruction's past."""
        self._instruction = None

    def prefill(self, batch: PrefillBatch, instruction: tuple[int, ...]) -> DecodeState:
        """The state after all prompts of the batch, in the order of its rows."""
        posts = [[x.ids for _, x in post] for post in batch]
        n_instruction = len(instruction)
        if any(tuple(ids[:n_instruction]) != instruction for post in posts for ids in post):
            n_instruction = 0
        shared_lengths = [self._shared_length(ids) for ids in posts] if self.share else []
        # A post whose rows part before its pictures end cannot be read in pieces.
        if None in shared_lengths or (n_instruction == 0 and 0 in shared_lengths) or not self.share:
            model_inputs = [x for post in batch for _, x in post]
            return self.engine.prefill([x.ids for x in model_inputs], None, self._extra_inputs(model_inputs))
        extra_inputs = self._extra_inputs([post[0][1] for post in batch])
        return self._prefill_shared(posts, [h or 0 for h in shared_lengths], extra_inputs, instruction[:n_instruction])

    def _shared_length(self, rows: list[list[int]]) -> int | None:
        """How many tokens the rows of a post share, pictures included; None if they do not."""
        end = min(len(row) for row in rows) - 1
        for row in rows[1:]:
            end = min(end, plan.common_prefix_length(rows[0], row))
        return None if any(self.placeholders.intersection(row[end:]) for row in rows) else end

    def _prefill_shared(
        self,
        posts: list[list[list[int]]],
        shared_lengths: list[int],
        extra_inputs: dict[str, torch.Tensor],
        instruction: tuple[int, ...],
    ) -> DecodeState:
        n_instruction = len(instruction)
        past_state = select_rows(self._instruction_state(instruction), [0] * len(posts)) if n_instruction else None
        if all(len(rows) == 1 for rows in posts):
            return self.engine.prefill([rows[0][n_instruction:] for rows in posts], past_state, extra_inputs)
        middles = [rows[0][n_instruction:end] for rows, end in zip(posts, shared_lengths, strict=True)]
        if past_state is None or any(middles):
            past_state = self.engine.prefill(middles, past_state, extra_inputs)
        post_indices = [i for i, rows in enumerate(posts) for _ in rows]
        tails = [row[end:] for rows, end in zip(posts, shared_lengths, strict=True) for row in rows]
        return self.engine.prefill(tails, select_rows(past_state, post_indices))

    def _instruction_state(self, instruction: tuple[int, ...]) -> DecodeState:
        if self._instruction is None or self._instruction[0] != instruction:
            self._instruction = instruction, self.engine.prefill([instruction])
        return self._instruction[1]

    def _extra_inputs(self, model_inputs: Sequence[ModelInputs]) -> dict[str, torch.Tensor]:
        """Pixels on the model's device, and facts of tokens, left-padded like the tokens."""
        model = self.engine.model
        tensors = stack_tensors([p.tensors for p in model_inputs])
        width = max(len(p.ids) for p in model_inputs)
        for name in {n: None for p in model_inputs for n in p.per_token}:
            rows = [p.per_token.get(name, [0] * len(p.ids)) for p in model_inputs]
            tensors[name] = torch.tensor([[0] * (width - len(r)) + r for r in rows])
        if self.share:
            # A family whose prefixes can be shared looks at pixels only.
            tensors = {n: t for n, t in tensors.items() if not n.endswith("token_type_ids")}
        floats = {n: t.to(model.dtype) for n, t in tensors.items() if t.is_floating_point()}
        return {n: t.to(model.device) for n, t in {**tensors, **floats}.items()}
