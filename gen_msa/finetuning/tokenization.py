"""Tokenizes training rows: ids, and for each answer token its field. Nothing is truncated.

Uses the backend's own chat template and image expansion, so that the tokens are those of inference.

    tokenizer = ExampleTokenizer(chat_tokenizer, expander, max_length=2048)
    tokenizer.tokenize(row).fields       # ('form', 'label', 'form', 'explanation', …, 'form')
"""

import dataclasses
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from gen_msa.backends.hf.chat_tokens import ChatTokenizer, TokenizedRequest, common_prefix_length
from gen_msa.backends.hf.image_inputs import ImageExpander
from gen_msa.chat import escape_control_tokens
from gen_msa.errors import UserError
from gen_msa.finetuning.dataset import TrainingExample
from gen_msa.prompting import TargetField, TargetSegment
from gen_msa.types import Polarity

K = TypeVar("K", bound=Hashable)
SoftTargets = tuple[tuple[int, tuple[tuple[int, float], ...]], ...]
"""(Index of the answer token, candidates and their probabilities, which sum to 1)."""


def soft_targets(
    answer_ids: Sequence[int], answers: Mapping[K, Sequence[int]], probs: Mapping[K, float]
) -> SoftTargets:
    """Convert label probabilities to distributions over next tokens.

    A distribution is given at each position where the tokens of several labels differ, as long as
    they share the prefix of the learned answer. Positions without any probability are left out.

    Args:
        answer_ids: Tokens of the learned answer.
        answers: Tokens of the answer for each label.
        probs: Probability of each label, 0..1.

    Returns:
        (Index in `answer_ids`, pairs of next token and its probability, which sum to 1) for each
        position.
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
    """A tokenized row; its pixels are computed when its batch is made."""

    example: TrainingExample
    ids: tuple[int, ...]
    fields: tuple[TargetField, ...]
    """Fields of the last `len(fields)` tokens of `ids`: the answer."""
    aligned: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Further per-token inputs of a model family."""
    expander_row: TokenizedRequest | None = None
    """Input of the image expander, to compute the pixels; None without images."""
    soft_targets: SoftTargets = ()
    """A teacher's probabilities, at positions counted from the first answer token."""

    @property
    def prompt_length(self) -> int:
        """Tokens before the answer."""
        return len(self.ids) - len(self.fields)


class ExampleTokenizer:
    """Tokenizes rows for one model."""

    def __init__(
        self, chat_tokenizer: ChatTokenizer, expander: ImageExpander, max_length: int
    ) -> None:
        self.chat_tokenizer = chat_tokenizer
        self.expander = expander
        self.max_length = max_length
        self._eos = eos_token(chat_tokenizer)
        pad = chat_tokenizer.tokenizer.pad_token_id
        self.pad: int = self._eos if pad is None else pad

    def tokenize(self, row: TrainingExample) -> TokenizedExample:
        """Tokenize a row.

        Raises:
            UserError: If the row needs more than `max_length` tokens.
            ImageError: If an image cannot be loaded. Errors of the processor are raised unchanged.
        """
        prompt = self.chat_tokenizer.render_prompt(row.question.request.chat)
        ids, fields = self._tokenize_answer(prompt.text, row)
        expander_row = TokenizedRequest(0, tuple(ids), prompt.text, prompt.images, None, 1, {})
        # Without images too: per-token inputs of a family (PaliGemma) mark the answer.
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
        """Return the image inputs of a row, as its processor makes them; empty without images."""
        return (
            self.expander.expand(tokenized.expander_row).tensors if tokenized.expander_row else {}
        )

    def _soft_targets(
        self, prompt: str, row: TrainingExample, answer_ids: Sequence[int]
    ) -> SoftTargets:
        """Return the teacher's probabilities at the tokens where the labels differ."""
        if row.probs is None:
            return ()
        answers: dict[Polarity, Sequence[int]] = {}
        for polarity, label_word in row.question.prompt.labels.items():
            label_segments = (
                TargetSegment(f" {label_word}", "label") if s.field == "label" else s
                for s in row.target.segments
            )
            variant = dataclasses.replace(
                row, target=row.target._replace(segments=tuple(label_segments))
            )
            ids, fields = self._tokenize_answer(prompt, variant)
            answers[polarity] = ids[len(ids) - len(fields) :]
        return soft_targets(answer_ids, answers, row.probs)

    def _tokenize_answer(
        self, prompt: str, row: TrainingExample
    ) -> tuple[list[int], tuple[TargetField, ...]]:
        """Return the tokens of prompt and answer, and the fields of the answer tokens."""
        segments = [self._escape_segment(s) for s in row.target.segments]
        text = prompt + "".join(s.text for s in segments)
        encoding: Any = self.chat_tokenizer.tokenizer(
            text,
            add_special_tokens=self.chat_tokenizer.adds_special(prompt),
            return_offsets_mapping=True,
        )
        ids: list[int] = encoding["input_ids"]
        fields = _token_fields(encoding["offset_mapping"], len(prompt), segments)
        if row.target.complete:
            ids, fields = [*ids, self._eos], [*fields, "form"]
        return ids, tuple(fields)

    def _escape_segment(self, segment: TargetSegment) -> TargetSegment:
        """Escape control strings in text that came from a post or a teacher."""
        if segment.field == "form":
            return segment
        return TargetSegment(
            escape_control_tokens(segment.text, self.chat_tokenizer.control_tokens)[0],
            segment.field,
        )


def eos_token(chat_tokenizer: ChatTokenizer) -> int:
    """Return the token that ends an answer: that of the chat template, else the tokenizer's EOS.

    Raises:
        UserError: If neither names one.
    """
    ends = chat_tokenizer.end_ids()
    eos: int | None = chat_tokenizer.tokenizer.eos_token_id
    template_ends = sorted(ends - {eos}) if eos is not None else sorted(ends)
    if template_ends:
        return template_ends[0]
    if eos is None:
        raise UserError("the tokenizer names no end-of-sequence token", hint="set eos_token")
    return eos


def _token_fields(
    offsets: Sequence[tuple[int, int]], start: int, segments: Sequence[TargetSegment]
) -> list[TargetField]:
    """Return the field of each token that ends behind `start`: that of its last character."""
    ends: list[int] = []
    position = start
    for segment in segments:
        position += len(segment.text)
        ends.append(position)
    fields: list[TargetField] = []
    k = 0
    for _, end in offsets:
        if end <= start:
            continue
        while ends[k] < end:
            k += 1
        fields.append(segments[k].field)
    return fields


# Packs the rows of a post into one sequence: the shared prefix once, then each row as a branch.

MIN_SHARED_TOKENS = 4
"""Tokens that rows must share to be packed."""


@dataclass(frozen=True)
class PackedSequence:
    """One sequence of a batch."""

    rows: tuple[TokenizedExample, ...]
    ids: tuple[int, ...]
    segments: tuple[int, ...]
    """0 for the shared prefix, k for the branch of the k-th row."""
    positions: tuple[int, ...]
    aligned: dict[str, tuple[int, ...]]
    answers: tuple[tuple[int, int], ...]
    """[Start, end) of each row's answer tokens in `ids`."""

    @property
    def is_packed(self) -> bool:
        """Whether it holds more than one row."""
        return len(self.rows) > 1


def unpacked(row: TokenizedExample) -> PackedSequence:
    """Return a row as a sequence of its own."""
    n = len(row.ids)
    answer = ((row.prompt_length, n),)
    return PackedSequence((row,), row.ids, (0,) * n, tuple(range(n)), row.aligned, answer)


def pack(rows: Sequence[TokenizedExample]) -> list[PackedSequence]:
    """Return the rows of one post in as few sequences as possible.

    Rows that share fewer than `MIN_SHARED_TOKENS` tokens are not packed.
    """
    sequences: list[PackedSequence] = []
    groups: list[list[TokenizedExample]] = []
    for row in rows:
        matching = next((g for g in groups if _shared_prefix([*g, row]) >= MIN_SHARED_TOKENS), None)
        if matching is None:
            groups.append([row])
        else:
            matching.append(row)
    for group in groups:
        sequences.append(unpacked(group[0]) if len(group) == 1 else _pack_group(group))
    return sequences


def _shared_prefix(rows: Sequence[TokenizedExample]) -> int:
    """Return the length of the common prefix; the last prompt token of each row stays its own."""
    first = rows[0]
    if any(
        r.expander_row and first.expander_row and r.expander_row.images != first.expander_row.images
        for r in rows
    ):
        return 0
    if len({r.expander_row is None for r in rows}) > 1:
        return 0
    end = min(r.prompt_length - 1 for r in rows)
    for row in rows[1:]:
        end = min(end, common_prefix_length(first.ids[:end], row.ids[:end]))
        for name, values in row.aligned.items():
            end = min(end, common_prefix_length(first.aligned[name][:end], values[:end]))
    return end


def _pack_group(rows: Sequence[TokenizedExample]) -> PackedSequence:
    prefix_length = _shared_prefix(rows)
    ids = list(rows[0].ids[:prefix_length])
    segments, positions = [0] * prefix_length, list(range(prefix_length))
    aligned = {k: list(v[:prefix_length]) for k, v in rows[0].aligned.items()}
    answers = []
    for k, row in enumerate(rows, start=1):
        suffix_length = len(row.ids) - prefix_length
        answers.append((len(ids) + suffix_length - len(row.fields), len(ids) + suffix_length))
        ids += row.ids[prefix_length:]
        segments += [k] * suffix_length
        positions += range(prefix_length, len(row.ids))
        for name, values in row.aligned.items():
            aligned[name] += values[prefix_length:]
    return PackedSequence(
        tuple(rows),
        tuple(ids),
        tuple(segments),
        tuple(positions),
        {k: tuple(v) for k, v in aligned.items()},
        tuple(answers),
    )
