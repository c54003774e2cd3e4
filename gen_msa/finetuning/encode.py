"""From rows to tokens: ids, and for each answer token the field it belongs to. Nothing is cut.

Uses the backend's own layout and picture expansion, so the tokens are those that reading will see.
Knows no model.

    encoder = Encoder(layout, expander, max_length=2048)
    encoder.encode(row).fields       # ['form', 'label', 'form', 'explanation', …, 'form']
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.pictures import Expander
from gen_msa.backends.local.plan import Row as Asked
from gen_msa.backends.neutral import neutralise
from gen_msa.errors import UserError
from gen_msa.finetuning.rows import Row
from gen_msa.finetuning.softening import Places, places
from gen_msa.prompting import Field, Piece
from gen_msa.types import Polarity


@dataclass(frozen=True)
class Encoded:
    """A row as the model takes it; its pixels are fetched again when its batch is made."""

    row: Row
    ids: tuple[int, ...]
    fields: tuple[Field, ...]
    """Of the last `len(fields)` tokens of `ids`: the answer."""
    aligned: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Further facts a family wants for each token."""
    asked: Asked | None = None
    """What the expander takes to give the pixels again; None without pictures."""
    soft: Places = ()
    """A teacher's probabilities, at places counted from the first token of the answer."""

    @property
    def prompt_length(self) -> int:
        """Tokens before the answer."""
        return len(self.ids) - len(self.fields)


class Encoder:
    """Encodes rows for one model."""

    def __init__(self, layout: Layout, expander: Expander, max_length: int) -> None:
        self.layout = layout
        self.expander = expander
        self.max_length = max_length
        self._end = closing_token(layout)
        pad = layout.tokenizer.pad_token_id
        self.pad: int = self._end if pad is None else pad

    def encode(self, row: Row) -> Encoded:
        """The row in tokens.

        Raises `UserError` for a row that needs more than `max_length` tokens, and what the picture
        loader or the processor raises.
        """
        prompt = self.layout.prompt(row.question.request.chat)
        ids, fields = self._answered(prompt.text, row)
        asked = Asked(0, tuple(ids), prompt.text, prompt.pictures, None, 1, {})
        # Without pictures too: a family's facts of tokens (PaliGemma) say which are the answer.
        full = self.expander.expand(asked)
        ids, aligned = full.ids, {k: tuple(v) for k, v in full.aligned.items()}
        if len(ids) > self.max_length:
            raise UserError(
                f"{len(ids)} tokens do not fit into max_length={self.max_length}",
                mend="raise max_length, or lower reading.picture.max_pixels",
            )
        soft = self._soft(prompt.text, row, ids[len(ids) - len(fields) :])
        return Encoded(row, tuple(ids), fields, aligned, asked if prompt.pictures else None, soft)

    def tensors(self, encoded: Encoded) -> dict[str, torch.Tensor]:
        """The pixels of a row and what belongs to them."""
        return self.expander.expand(encoded.asked).tensors if encoded.asked else {}

    def _soft(self, prompt: str, row: Row, own: Sequence[int]) -> Places:
        """Where the answers with each label word part, and what the teacher thinks of them."""
        if row.probs is None:
            return ()
        answers: dict[Polarity, Sequence[int]] = {}
        for polarity, word in row.question.prompt.labels.items():
            said = (
                Piece(f" {word}", "label") if p.field == "label" else p for p in row.target.pieces
            )
            other = dataclasses.replace(row, target=row.target._replace(pieces=tuple(said)))
            ids, fields = self._answered(prompt, other)
            answers[polarity] = ids[len(ids) - len(fields) :]
        return places(own, answers, row.probs)

    def _answered(self, prompt: str, row: Row) -> tuple[list[int], tuple[Field, ...]]:
        """Tokens of prompt and answer, and the fields of the answer's."""
        pieces = [self._plain(p) for p in row.target.pieces]
        text = prompt + "".join(p.text for p in pieces)
        out: Any = self.layout.tokenizer(
            text,
            add_special_tokens=self.layout.adds_special(prompt),
            return_offsets_mapping=True,
        )
        ids: list[int] = out["input_ids"]
        fields = _fields(out["offset_mapping"], len(prompt), pieces)
        if row.target.complete:
            ids, fields = [*ids, self._end], [*fields, "form"]
        return ids, tuple(fields)

    def _plain(self, piece: Piece) -> Piece:
        """Control strings in words that came from a post or a teacher are broken up."""
        if piece.field == "form":
            return piece
        return Piece(neutralise(piece.text, self.layout.control)[0], piece.field)


def closing_token(layout: Layout) -> int:
    """The token that ends an answer: what the template puts there, else the tokenizer's EOS."""
    ends = layout.ends()
    eos: int | None = layout.tokenizer.eos_token_id
    closing = sorted(ends - {eos}) if eos is not None else sorted(ends)
    if closing:
        return closing[0]
    if eos is None:
        raise UserError("the tokenizer names no token that ends an answer", mend="set eos_token")
    return eos


def _fields(offsets: Sequence[tuple[int, int]], start: int, pieces: Sequence[Piece]) -> list[Field]:
    """The field of each token whose text ends behind `start`: that of its last character."""
    ends: list[int] = []
    at = start
    for piece in pieces:
        at += len(piece.text)
        ends.append(at)
    found: list[Field] = []
    k = 0
    for _, end in offsets:
        if end <= start:
            continue
        while ends[k] < end:
            k += 1
        found.append(pieces[k].field)
    return found
