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
from gen_msa.backends.local.past import State, roomy_cache, select
from gen_msa.backends.local.plan import Row, Slot


class Engine:
    """One model, the tokens that close its turns, and whether its past is plain (`simple`)."""

    def __init__(self, model: Any, ends: frozenset[int], *, simple: bool) -> None:
        self.model = model
        self.ends = ends
        self.simple = simple
        self._takes = family.takes(model)
        self._rope = family.rope_owner(model)

    def start(
        self,
        ids: Sequence[Sequence[int]],
        past: State | None = None,
        extras: dict[str, torch.Tensor] | None = None,
    ) -> State:
        """Read rows of tokens, left-padded; row i goes on from row i of `past`, which is used up.

        `extras` holds the pictures' tensors.
        """
        width = max(len(row) for row in ids)
        pad = min(self.ends, default=0)
        device = self.model.device
        table = torch.tensor([[pad] * (width - len(r)) + list(r) for r in ids], device=device)
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in ids], device=device)
        if past is None:
            return self._first(table, mask, extras or {})
        mask = torch.cat([past.mask, mask], dim=1)
        logits, cache = self._forward(table, mask, past.cache, past.shift, extras or {})
        return State(cache, mask, logits[:, -1], past.shift)

    def feed(self, state: State, tokens: Sequence[Sequence[int]]) -> None:
        """Append the same number of tokens to every row."""
        table = torch.tensor(tokens, device=state.mask.device)
        state.mask = torch.cat([state.mask, torch.ones_like(table)], dim=1)
        logits, state.cache = self._forward(table, state.mask, state.cache, state.shift, {})
        state.logits = logits[:, -1]

    def scores(self, state: State, rows: Sequence[Row]) -> list[list[float]]:
        """Total log-probability of every option of every row; `[]` for a row without a slot."""
        slots = [row.slot or Slot((), ()) for row in rows]
        if not any(s.forced for s in slots):
            return [[] for _ in rows]
        first = state.logits.float().log_softmax(-1)
        scores = [
            [float(first[i, o[0]]) if n else 0.0 for o, n in zip(s.forced, s.scored, strict=True)]
            for i, s in enumerate(slots)
        ]
        long = [(i, k) for i, s in enumerate(slots) for k, n in enumerate(s.scored) if n > 1]
        for at in range(0, len(long), len(rows)):
            pairs = long[at : at + len(rows)]
            tokens = [slots[i].forced[k][: slots[i].scored[k]] for i, k in pairs]
            added = self._continued(state, [i for i, _ in pairs], tokens)
            for (i, k), value in zip(pairs, added, strict=True):
                scores[i][k] += value
        return scores

    def _continued(
        self, state: State, rows: list[int], tokens: list[tuple[int, ...]]
    ) -> list[float]:
        """Log-probability of each run of tokens after its first, on a copy of the rows' past."""
        width = max(len(t) for t in tokens) - 1
        part = select(state, rows)
        table = torch.tensor([[*t[:-1], *[0] * (width + 1 - len(t))] for t in tokens])
        table = table.to(part.mask.device)
        mask = torch.cat([part.mask, torch.ones_like(table)], dim=1)
        logits, _ = self._forward(table, mask, part.cache, part.shift, {}, every=True)
        logp = logits[:, -width:].float().log_softmax(-1)
        return [
            sum(float(logp[i, j, t[j + 1]]) for j in range(len(t) - 1))
            for i, t in enumerate(tokens)
        ]

    def _first(
        self, table: torch.Tensor, mask: torch.Tensor, extras: dict[str, torch.Tensor]
    ) -> State:
        shift = None
        if self._rope is not None:
            # What an earlier batch left there would be taken for this one's.
            self._rope.rope_deltas = None
            if not any(name.endswith("grid_thw") for name in extras):
                shift = mask.new_zeros((len(mask), 1))
        cache = roomy_cache() if self.simple else None
        logits, cache = self._forward(table, mask, cache, shift, extras)
        if self._rope is not None and shift is None:
            shift = self._rope.rope_deltas
        return State(cache, mask, logits[:, -1], shift)

    def _forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        cache: Any,
        shift: torch.Tensor | None,
        extras: dict[str, torch.Tensor],
        *,
        every: bool = False,
    ) -> tuple[torch.Tensor, Any]:
        """Scores after the last token (or after `every` one) and the grown cache."""
        inputs: dict[str, Any] = {**extras, "input_ids": ids, "attention_mask": mask}
        if "position_ids" in self._takes and (self._rope is None or shift is not None):
            places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            inputs["position_ids"] = (
                places if shift is None else (places + shift)[None].expand(3, -1, -1)
            )
        if "logits_to_keep" in self._takes and not every:
            inputs["logits_to_keep"] = 1
        out = self.model(**inputs, past_key_values=cache, use_cache=True)
        return out.logits, out.past_key_values
