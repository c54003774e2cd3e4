"""From rows to tokens: ids, and for each answer token the field it belongs to. Nothing is cut.

Uses the backend's own layout and picture expansion, so the tokens are those that reading will see.
Knows no model.

    encoder = Encoder(layout, expander, max_length=2048)
    encoder.encode(row).fields       # ['form', 'label', 'form', 'explanation', …, 'form']
"""

import dataclasses
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from gen_msa.backends.hf.batching import TokenizedRequest
from gen_msa.backends.hf.chat_messages import escape_control_tokens
from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.backends.hf.image_inputs import ImageExpander
from gen_msa.errors import UserError
from gen_msa.finetuning.dataset import TrainingExample
from gen_msa.prompting import TargetField, TargetSegment
from gen_msa.types import Polarity

# A teacher's probabilities as token distributions: where the words of the labels part.

K = TypeVar("K", bound=Hashable)
SoftTargets = tuple[tuple[int, tuple[tuple[int, float], ...]], ...]
"""(Index of the answer's token, its tokens with their probabilities, which sum to 1)."""


def soft_targets(
    answer_ids: Sequence[int], answers: Mapping[K, Sequence[int]], probs: Mapping[K, float]
) -> SoftTargets:
    """Where the tokens of `answers` part, as long as they go along with the learned answer `own`.

    `probs` [0..1] of each answer. A place none of whose answers has any probability is left out.
    """
    targets = []
    remaining = dict(answers)
    for i, token in enumerate(answer_ids):
        next_tokens = {k: ids[i] for k, ids in remaining.items() if i < len(ids)}
        if len(remaining) < 2:
            break
        mass: dict[int, float] = defaultdict(float)
        for k, next_token in next_tokens.items():
            mass[next_token] += probs.get(k, 0.0)
        total = sum(mass.values())
        if len(mass) > 1 and total > 0:
            targets.append((i, tuple((t, m / total) for t, m in mass.items())))
        remaining = {
            k: remaining[k] for k, next_token in next_tokens.items() if next_token == token
        }
    return tuple(targets)


@dataclass(frozen=True)
class TokenizedExample:
    """A row as the model takes it; its pixels are fetched again when its batch is made."""

    example: TrainingExample
    ids: tuple[int, ...]
    fields: tuple[TargetField, ...]
    """Of the last `len(fields)` tokens of `ids`: the answer."""
    aligned: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Further facts a family wants for each token."""
    expander_row: TokenizedRequest | None = None
    """What the expander takes to give the pixels again; None without pictures."""
    soft_targets: SoftTargets = ()
    """A teacher's probabilities, at places counted from the first token of the answer."""

    @property
    def prompt_length(self) -> int:
        """Tokens before the answer."""
        return len(self.ids) - len(self.fields)


class ExampleTokenizer:
    """Encodes rows for one model."""

    def __init__(self, layout: ChatTokenizer, expander: ImageExpander, max_length: int) -> None:
        self.layout = layout
        self.expander = expander
        self.max_length = max_length
        self._eos = eos_token(layout)
        pad = layout.tokenizer.pad_token_id
        self.pad: int = self._eos if pad is None else pad

    def tokenize(self, row: TrainingExample) -> TokenizedExample:
        """The row in tokens.

        Raises `UserError` for a row that needs more than `max_length` tokens, and what the picture
        loader or the processor raises.
        """
        prompt = self.layout.render_prompt(row.question.request.chat)
        ids, fields = self._tokenize_answer(prompt.text, row)
        expander_row = TokenizedRequest(0, tuple(ids), prompt.text, prompt.images, None, 1, {})
        # Without pictures too: a family's facts of tokens (PaliGemma) say which are the answer.
        expanded = self.expander.expand(expander_row)
        ids, aligned = expanded.ids, {k: tuple(v) for k, v in expanded.per_token.items()}
        if len(ids) > self.max_length:
            raise UserError(
                f"{len(ids)} tokens do not fit into max_length={self.max_length}",
                hint="raise max_length, or lower inference.image.max_pixels",
            )
        targets = self._soft_targets(prompt.text, row, ids[len(ids) - len(fields) :])
        return TokenizedExample(
            row, tuple(ids), fields, aligned, expander_row if prompt.images else None, targets
        )

    def pixel_inputs(self, tokenized: TokenizedExample) -> dict[str, torch.Tensor]:
        """The pixels of a row and what belongs to them."""
        return (
            self.expander.expand(tokenized.expander_row).tensors if tokenized.expander_row else {}
        )

    def _soft_targets(
        self, prompt: str, row: TrainingExample, answer_ids: Sequence[int]
    ) -> SoftTargets:
        """Where the answers with each label word part, and what the teacher thinks of them."""
        if row.probs is None:
            return ()
        answers: dict[Polarity, Sequence[int]] = {}
        for polarity, label_word in row.question.prompt.labels.items():
            label_pieces = (
                TargetSegment(f" {label_word}", "label") if p.field == "label" else p
                for p in row.target.segments
            )
            variant = dataclasses.replace(
                row, target=row.target._replace(segments=tuple(label_pieces))
            )
            ids, fields = self._tokenize_answer(prompt, variant)
            answers[polarity] = ids[len(ids) - len(fields) :]
        return soft_targets(answer_ids, answers, row.probs)

    def _tokenize_answer(
        self, prompt: str, row: TrainingExample
    ) -> tuple[list[int], tuple[TargetField, ...]]:
        """Tokens of prompt and answer, and the fields of the answer's."""
        pieces = [self._escape_piece(p) for p in row.target.segments]
        text = prompt + "".join(p.text for p in pieces)
        encoding: Any = self.layout.tokenizer(
            text,
            add_special_tokens=self.layout.adds_special(prompt),
            return_offsets_mapping=True,
        )
        ids: list[int] = encoding["input_ids"]
        fields = _token_fields(encoding["offset_mapping"], len(prompt), pieces)
        if row.target.complete:
            ids, fields = [*ids, self._eos], [*fields, "form"]
        return ids, tuple(fields)

    def _escape_piece(self, piece: TargetSegment) -> TargetSegment:
        """Control strings in words that came from a post or a teacher are broken up."""
        if piece.field == "form":
            return piece
        return TargetSegment(
            escape_control_tokens(piece.text, self.layout.control_tokens)[0], piece.field
        )


def eos_token(layout: ChatTokenizer) -> int:
    """The token that ends an answer: what the template puts there, else the tokenizer's EOS."""
    ends = layout.end_ids()
    eos: int | None = layout.tokenizer.eos_token_id
    template_ends = sorted(ends - {eos}) if eos is not None else sorted(ends)
    if template_ends:
        return template_ends[0]
    if eos is None:
        raise UserError("the tokenizer names no token that ends an answer", hint="set eos_token")
    return eos


def _token_fields(
    offsets: Sequence[tuple[int, int]], start: int, pieces: Sequence[TargetSegment]
) -> list[TargetField]:
    """The field of each token whose text ends behind `start`: that of its last character."""
    ends: list[int] = []
    position = start
    for piece in pieces:
        position += len(piece.text)
        ends.append(position)
    fields: list[TargetField] = []
    k = 0
    for _, end in offsets:
        if end <= start:
            continue
        while ends[k] < end:
            k += 1
        fields.append(pieces[k].field)
    return fields
