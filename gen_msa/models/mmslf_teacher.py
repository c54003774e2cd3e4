"""MMSLF's teacher: a context in words conditions the attention of text to audio and video.

    context ─► MiniLM ─► learned tokens, one per text position ─► P
    D = Q K' / sqrt(h), E = (P W) V' / sqrt(h), map = softmax(D * E), in every layer

Zhang H., Zhang Y., Ying C., Tang X., Yu T., "MLLM-guided multimodal sentiment learning" (NeurIPS
2025). It is trained on labels and only used as a teacher of `mmslf`. A row without a context uses
plain attention (E = 1). The context must not contain the answer: one that was written with the
label in sight differs between training and use, as in the paper's own release.

Differences from the paper: those of `mmslf`, and: one encoder reads text and context; the context
is truncated where the text is (`max_length`); masking in training keeps the first token and the
aspect of a text.

    models["mmslf_teacher"](InputDims(width={"text": V, "audio": 73, "video": 100, "context": V}))
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gen_msa.models.base import Batch, InputDims, Output, models
from gen_msa.models.layers.attention import ConditionalAttention, LearnedTokenPooling
from gen_msa.models.mmslf import MmslfBackbone, MmslfTeacherConfig


@models.register
class MmslfTeacher(MmslfBackbone):
    """The student's layers with conditional attention. Rows are independent."""

    modalities = ("text", "audio", "video", "context")

    def __init__(self, input_dims: InputDims, **config: Any) -> None:
        """Draw new weights from torch's random state.

        Args:
            input_dims: Sizes of text, audio, video and context.
            config: Fields of `MmslfTeacherConfig`.

        Raises:
            ValueError: The data lacks a source that the config names.
        """
        cfg = MmslfTeacherConfig(**config)
        super().__init__(input_dims, cfg, ConditionalAttention)
        self._teacher_config = cfg
        self.context_proj = nn.Linear(cfg.width, cfg.dim)
        self.context_pooling = LearnedTokenPooling(
            cfg.steps,
            cfg.dim,
            layers=cfg.context_layers,
            heads=cfg.context_heads,
            ffn_dim=cfg.ffn_dim,
            dropout=cfg.fusion_dropout,
        )

    def forward(self, batch: Batch) -> Output:
        """Classify a batch; the features have the student's names and shapes."""
        batch = self._random_mask(batch) if self.training else batch
        encoded = self._encode_text(batch)
        x, conditional = encoded.hidden_states, self._teacher_config.attn_target == "conditional"
        context = (self._context(batch)[:, : x.shape[1]], batch.present["context"])
        attended = {
            m: self.cross_modal_encoders[m](x, *self._project_source(batch, m), *context)
            for m in self.cross_modal_encoders
        }
        maps = {m: a.conditioned_weights if conditional else a.weights for m, a in attended.items()}
        return self._fuse(batch, encoded.text, attended, maps)

    def _context(self, batch: Batch) -> Tensor:
        """Compute P: (rows, `steps`, dim), one position for each position of a text."""
        mask = batch.mask["context"]
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and not self._teacher_config.frozen_text
        ):
            encoded = self.encoder(input_ids=batch.inputs["context"], attention_mask=mask.long())
        return torch.as_tensor(
            self.context_pooling(self.context_proj(encoded.last_hidden_state), mask)
        )

    def _random_mask(self, batch: Batch) -> Batch:
        """Mask a random share of words and of feature values of each row, independently."""
        min_keep = self._teacher_config.min_keep
        if min_keep >= 1:
            return batch
        inputs = dict(batch.inputs)
        keep_share = min_keep + (1 - min_keep) * torch.rand(
            len(batch.ids), device=inputs["text"].device
        )
        for name in self.cross_modal_encoders:
            inputs[name] = inputs[name] * (
                torch.rand_like(inputs[name]) < keep_share[:, None, None]
            )
        hide = torch.rand(inputs["text"].shape, device=keep_share.device) >= keep_share[:, None]
        hide &= batch.mask["text"] & ~batch.mask["aspect"]
        hide[:, 0] = False
        inputs["text"] = inputs["text"].masked_fill(hide, self._teacher_config.unk_token_id)
        return replace(batch, inputs=inputs)
