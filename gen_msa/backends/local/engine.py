"""The model's forward pass: reading prompts, scoring a slot's options, taking one more token.

No token is ever padded in behind a past that must go on, so sliding windows and three-axis
positions stay exact. Knows tokens only.

    engine = Engine(model, ends=frozenset({2}), simple=True)
    state = engine.start([[1, 2, 3], [4, 5]])
"""

from collections.abc import Sequence
from typing import Any

import torch

from gen_msa.backends.local import family
from gen_msa.backends.local.past import DecodeState, preallocated_cache, select_rows
from gen_msa.backends.local.plan import TokenizedRequest, TokenizedSlot


class HfEngine:
    """One model, the tokens that close its turns, and whether its past is plain (`simple`)."""

    def __init__(self, model: Any, end_ids: frozenset[int], *, plain_cache: bool) -> None:
        self.model = model
        self.end_ids = end_ids
        self.plain_cache = plain_cache
        self._forward_params = family.forward_params(model)
        self._rope_module = family.rope_module(model)

    def prefill(
        self,
        ids: Sequence[Sequence[int]],
        past_state: DecodeState | None = None,
        extra_inputs: dict[str, torch.Tensor] | None = None,
    ) -> DecodeState:
        """Read rows of tokens, left-padded; row i goes on from row i of `past`, which is used up.

        `extras` holds the pictures' tensors.
        """
        width = max(len(row) for row in ids)
        pad = min(self.end_ids, default=0)
        device = self.model.device
        input_ids = torch.tensor([[pad] * (width - len(r)) + list(r) for r in ids], device=device)
        attention_mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in ids], device=device)
        if past_state is None:
            return self._first_prefill(input_ids, attention_mask, extra_inputs or {})
        attention_mask = torch.cat([past_state.attention_mask, attention_mask], dim=1)
        logits, cache = self._forward(input_ids, attention_mask, past_state.cache, past_state.rope_deltas, extra_inputs or {})
        return DecodeState(cache, attention_mask, logits[:, -1], past_state.rope_deltas)

    def append_tokens(self, state: DecodeState, tokens: Sequence[Sequence[int]]) -> None:
        """Append the same number of tokens to every row."""
        input_ids = torch.tensor(tokens, device=state.attention_mask.device)
        state.attention_mask = torch.cat([state.attention_mask, torch.ones_like(input_ids)], dim=1)
        logits, state.cache = self._forward(input_ids, state.attention_mask, state.cache, state.rope_deltas, {})
        state.logits = logits[:, -1]

    def option_logprobs(self, state: DecodeState, rows: Sequence[TokenizedRequest]) -> list[list[float]]:
        """Total log-probability of every option of every row; `[]` for a row without a slot."""
        slots = [row.slot or TokenizedSlot((), ()) for row in rows]
        if not any(s.option_tokens for s in slots):
            return [[] for _ in rows]
        first_logprobs = state.logits.float().log_softmax(-1)
        scores = [
            [float(first_logprobs[i, o[0]]) if n else 0.0 for o, n in zip(s.option_tokens, s.n_scored, strict=True)]
            for i, s in enumerate(slots)
        ]
        multi_token = [(i, k) for i, s in enumerate(slots) for k, n in enumerate(s.n_scored) if n > 1]
        for offset in range(0, len(multi_token), len(rows)):
            pairs = multi_token[offset : offset + len(rows)]
            tokens = [slots[i].option_tokens[k][: slots[i].n_scored[k]] for i, k in pairs]
            extra_logprobs = self._continuation_logprobs(state, [i for i, _ in pairs], tokens)
            for (i, k), value in zip(pairs, extra_logprobs, strict=True):
                scores[i][k] += value
        return scores

    def _continuation_logprobs(
        self, state: DecodeState, rows: list[int], tokens: list[tuple[int, ...]]
    ) -> list[float]:
        """Log-probability of each run of tokens after its first, on a copy of the rows' past."""
        width = max(len(t) for t in tokens) - 1
        row_state = select_rows(state, rows)
        input_ids = torch.tensor([[*t[:-1], *[0] * (width + 1 - len(t))] for t in tokens])
        input_ids = input_ids.to(row_state.attention_mask.device)
        attention_mask = torch.cat([row_state.attention_mask, torch.ones_like(input_ids)], dim=1)
        logits, _ = self._forward(input_ids, attention_mask, row_state.cache, row_state.rope_deltas, {}, all_positions=True)
        logprobs = logits[:, -width:].float().log_softmax(-1)
        return [
            sum(float(logprobs[i, j, t[j + 1]]) for j in range(len(t) - 1))
            for i, t in enumerate(tokens)
        ]

    def _first_prefill(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, extra_inputs: dict[str, torch.Tensor]
    ) -> DecodeState:
        rope_deltas = None
        if self._rope_module is not None:
            # What an earlier batch left there would be taken for this one's.
            self._rope_module.rope_deltas = None
            if not any(name.endswith("grid_thw") for name in extra_inputs):
                rope_deltas = attention_mask.new_zeros((len(attention_mask), 1))
        cache = preallocated_cache() if self.plain_cache else None
        logits, cache = self._forward(input_ids, attention_mask, cache, rope_deltas, extra_inputs)
        if self._rope_module is not None and rope_deltas is None:
            rope_deltas = self._rope_module.rope_deltas
        return DecodeState(cache, attention_mask, logits[:, -1], rope_deltas)

    def _forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        cache: Any,
        rope_deltas: torch.Tensor | None,
        extra_inputs: dict[str, torch.Tensor],
        *,
        all_positions: bool = False,
    ) -> tuple[torch.Tensor, Any]:
        """Scores after the last token (or after `every` one) and the grown cache."""
        inputs: dict[str, Any] = {**extra_inputs, "input_ids": input_ids, "attention_mask": attention_mask}
        if "position_ids" in self._forward_params and (self._rope_module is None or rope_deltas is not None):
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
            inputs["position_ids"] = (
                position_ids if rope_deltas is None else (position_ids + rope_deltas)[None].expand(3, -1, -1)
            )
        if "logits_to_keep" in self._forward_params and not all_positions:
            inputs["logits_to_keep"] = 1
        out = self.model(**inputs, past_key_values=cache, use_cache=True)
        return out.logits, out.past_key_values
