"""MMSLF's student: text, audio and video, and no context, ever. It is what is used.

Zhang H., Zhang Y., Ying C., Tang X., Yu T., "MLLM-guided multimodal sentiment learning" (NeurIPS
2025). Alone it is trained on labels; distilled, also on where `mmslf_teacher` looks and on what it
fuses (`losses.features`: the paper's weights are 60 for each map and 8 for the fused tokens).

It differs from the paper: MiniLM (22 M) reads the text, not BERT-base; it says three classes, not
an intensity; a text may have 128 tokens, not 50, and is not padded to that; the aspect stands
behind the text; the steps of a source are counted from its end, since here the last one is the
post's own; a source stays the same in all layers and projections of attention have no bias, which
the paper does not say.

    students["mmslf"](Sizes(width={"text": 30522, "audio": 73, "video": 100}), frozen_text=True)
"""

from typing import Any

from gen_msa.students._mmslf import MmslfBackbone, MmslfConfig
from gen_msa.students.base import Batch, Output, InputDims, models


@models.register
class Mmslf(MmslfBackbone):
    """Text looks at audio and at video; four tokens gather both. Each row is read alone."""

    modalities = ("text", "audio", "video")

    def __init__(self, input_dims: InputDims, **config: Any) -> None:
        """New weights, drawn from torch's random state; `numbers` are those of `Numbers`."""
        super().__init__(input_dims, MmslfConfig(**config))

    def forward(self, batch: Batch) -> Output:
        """Logits; features `attention.audio`, `attention.video`, `fused` and `text`.

        A map is (rows, heads, text steps, source steps), fused tokens (rows, 4, d).
        """
        encoded = self._encode_text(batch)
        attended = {m: self.cross_modal_encoders[m](encoded.hidden_states, *self._project_source(batch, m)) for m in self.cross_modal_encoders}
        return self._fuse(batch, encoded.text, attended, {m: s.plain for m, s in attended.items()})
