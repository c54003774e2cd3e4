"""MMSLF's teacher: a context in words steers where the text looks in audio and video.

    context ─► MiniLM ─► learned tokens, one a place of the text, + all ─► kept ─► P
    D = Q K' / sqrt(h), E = (P W) V' / sqrt(h), map = softmax(D * E), in every layer of the aligners

Zhang H., Zhang Y., Ying C., Tang X., Yu T., "MLLM-guided multimodal sentiment learning" (NeurIPS
2025). It is trained on labels and only ever teaches: `mmslf` is what is used. A row without a
context looks by itself (E = 1). The context must not know the answer: one that was written with the
label in sight differs between training and use, as in the paper's own release.

It differs from the paper as `mmslf` does, and: one encoder reads text and context; the context is
cut where the text is (`max_length`); of a text that is partly hidden in training, the first token
and the aspect are kept.

    students["mmslf_teacher"](Sizes(width={"text": V, "audio": 73, "video": 100, "context": V}))
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gen_msa.students._mmslf import Backbone, TeacherNumbers
from gen_msa.students.base import Batch, Output, Sizes, students
from gen_msa.students.common.attending import ConditionalAttention, Leading


@students.register
class MmslfTeacher(Backbone):
    """As the student, and steered. Each row is read alone."""

    reads = ("text", "audio", "video", "context")

    def __init__(self, sizes: Sizes, **numbers: Any) -> None:
        """New weights, drawn from torch's random state; `numbers` are those of `TeacherNumbers`."""
        n = TeacherNumbers(**numbers)
        super().__init__(sizes, n, ConditionalAttention)
        self._own = n
        self.notes = nn.Linear(n.width, n.d)
        self.reducer = Leading(
            n.steps,
            n.d,
            layers=n.context_layers,
            heads=n.context_heads,
            feed=n.feed,
            dropout=n.drop,
        )

    def forward(self, batch: Batch) -> Output:
        """Logits; features as the student's, so that they can be held against each other."""
        batch = self._thinned(batch) if self.training else batch
        heard = self._heard(batch)
        x, conditional = heard.steps, self._own.attn_target == "conditional"
        steering = (self._context(batch)[:, : x.shape[1]], batch.present["context"])
        found = {m: self.aligners[m](x, *self._source(batch, m), *steering) for m in self.aligners}
        maps = {m: s.used if conditional else s.plain for m, s in found.items()}
        return self._output(batch, heard.text, found, maps)

    def _context(self, batch: Batch) -> Tensor:
        """P: (rows, `steps`, d), one place of it for each place of a text."""
        mask = batch.mask["context"]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._own.frozen_text):
            heard = self.encoder(input_ids=batch.x["context"], attention_mask=mask.long())
        return torch.as_tensor(self.reducer(self.notes(heard.last_hidden_state), mask))

    def _thinned(self, batch: Batch) -> Batch:
        """Of each row a drawn share of words and of numbers is hidden, each by itself."""
        least = self._own.least_kept
        if least >= 1:
            return batch
        x = dict(batch.x)
        kept = least + (1 - least) * torch.rand(len(batch.ids), device=x["text"].device)
        for name in self.aligners:
            x[name] = x[name] * (torch.rand_like(x[name]) < kept[:, None, None])
        hide = torch.rand(x["text"].shape, device=kept.device) >= kept[:, None]
        hide &= batch.mask["text"] & ~batch.mask["aspect"]
        hide[:, 0] = False
        x["text"] = x["text"].masked_fill(hide, self._own.unknown)
        return replace(batch, x=x)
