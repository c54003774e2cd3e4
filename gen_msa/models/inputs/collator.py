"""Turn rows into batches: token ids, features and masks, as numpy arrays or torch tensors.

`ArrayCollator` needs no torch and feeds exported graphs; `Collator` adds targets and returns
tensors. torch is imported by the first batch of a `Collator`.

    collate = Collator(Path("tokenizer.json").read_text(), max_length=128)
    row = AspectExample("1/0", "The soup was good", Aspect(term="soup", start=4))
    collate([row]).inputs["text"]
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
from tokenizers import Encoding, Tokenizer

from gen_msa.errors import UserError, user_errors
from gen_msa.models.base import CLASSES, AspectExample, Batch

if TYPE_CHECKING:
    from torch import Tensor

LABEL_MASK = "…"
"""Replacement of a label word that is masked."""
_LABEL_WORDS = re.compile(
    r"(?<!\w)(?:non-?)?(?:positiv\w*|negativ\w*|neutral\w*|pos|neg|neu)(?!\w)", re.IGNORECASE
)

Array = numpy.ndarray[Any, Any]


class BatchArrays(NamedTuple):
    """Arrays of a batch by modality, as in `Batch`."""

    inputs: dict[str, Array]
    """(rows, steps) int64 of token ids, or (rows, steps, width) float32 of features."""
    mask: dict[str, Array]
    """(rows, steps), True for real steps; `aspect` marks the aspect's steps of `text`."""
    present: dict[str, Array]
    """(rows,), False where the post does not have the modality."""


class ArrayCollator:
    """Collate rows to arrays. Equal tokenizer and options give equal arrays."""

    def __init__(
        self,
        tokenizer: str,
        *,
        max_length: int = 128,
        mask_labels: bool = False,
        widths: Mapping[str, int] = MappingProxyType({}),
        append_context: bool = False,
    ) -> None:
        """Load the tokenizer.

        Args:
            tokenizer: Content of a `tokenizer.json`.
            max_length: Longest row in tokens, special tokens included; longer ones are truncated.
            mask_labels: Mask the words positive, negative and neutral, in all their forms.
            widths: Further modalities and their widths; `context` is tokens, like text.
            append_context: Append the context to the text.

        Raises:
            UserError: `tokenizer` is not a tokenizer.
        """
        with user_errors("tokenizer.json", hint="restore the tokenizer of the student"):
            self._tokenizer = Tokenizer.from_str(tokenizer)
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_length, strategy="longest_first")
            self._tokenizer.encode_special_tokens = True
        self.tokenizer_json = tokenizer
        self.max_length = max_length
        self.mask_labels = mask_labels
        self.widths = dict(widths)
        self.append_context = append_context

    def collate(self, rows: Sequence[AspectExample]) -> BatchArrays:
        """Collate rows in their order.

        Raises:
            UserError: Features have another width than expected.
        """
        encoded = [self._encode(r) for r in rows]
        inputs: dict[str, Array] = {}
        mask: dict[str, Array] = {}
        present: dict[str, Array] = {}
        inputs["text"], mask["text"] = _token_arrays(encoded)
        mask["aspect"] = numpy.zeros_like(mask["text"])
        for i, e in enumerate(encoded):
            mask["aspect"][i, : len(e.ids)] = [s == 1 for s in e.sequence_ids]
        present["text"] = numpy.array([bool(r.text.strip()) for r in rows])
        for name, width in self.widths.items():
            if name == "context":
                inputs[name], mask[name] = _token_arrays(
                    [self._tokenizer.encode(r.context) for r in rows]
                )
                present[name] = numpy.array([bool(r.context.strip()) for r in rows])
            else:
                inputs[name], mask[name] = _feature_arrays(rows, name, width)
                present[name] = numpy.asarray(mask[name].any(1))
        return BatchArrays(inputs, mask, present)

    def visible_text(self, text: str) -> str:
        """Return the text with label words masked if `mask_labels` is set."""
        return _LABEL_WORDS.sub(LABEL_MASK, text) if self.mask_labels else text

    def length(self, row: AspectExample) -> int:
        """Return the tokens of a row after truncation."""
        return len(self._encode(row).ids)

    def is_truncated(self, row: AspectExample) -> bool:
        """Return whether the row is longer than `max_length`."""
        return self.visible_end(row) is not None

    def visible_end(self, row: AspectExample) -> int | None:
        """Return the character of the text after its last token within `max_length`.

        Returns:
            At most the length of the text; None for a row that is not truncated.
        """
        encoding = self._encode(row)
        if not encoding.overflowing:
            return None
        end = max(
            (
                span[1]
                for span, sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True)
                if sequence == 0
            ),
            default=0,
        )
        if self.mask_labels:  # a masked word is shorter than the word
            for match in _LABEL_WORDS.finditer(row.text):
                if match.start() >= end:
                    break
                end += len(match[0]) - len(LABEL_MASK)
        return min(end, len(row.text))

    def _encode(self, row: AspectExample) -> Encoding:
        text = f"{row.text}\n{row.context}" if self.append_context and row.context else row.text
        with user_errors("tokenizer.json", "cannot encode a text", hint=f"see row {row.id}"):
            return self._tokenizer.encode(self.visible_text(text), row.aspect.term)


def similar_length_batches(
    lengths: Sequence[int], batch_size: int, max_tokens: int | None = None
) -> Iterator[list[int]]:
    """Yield batches of row numbers, the shortest rows first.

    Args:
        lengths: Tokens of each row.
        batch_size: Most rows in a batch.
        max_tokens: Most tokens in a batch, padding included, unless one row has more.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        padded = (len(batch) + 1) * lengths[i]
        if batch and (len(batch) == batch_size or (max_tokens and padded > max_tokens)):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _token_arrays(encoded: Sequence[Encoding]) -> tuple[Array, Array]:
    """Return (rows, steps) of token ids, and their mask."""
    longest = max(len(e.ids) for e in encoded)
    ids = numpy.zeros((len(encoded), longest), numpy.int64)
    mask = numpy.zeros((len(encoded), longest), bool)
    for i, e in enumerate(encoded):
        ids[i, : len(e.ids)] = e.ids
        mask[i, : len(e.ids)] = True
    return ids, mask


def _feature_arrays(rows: Sequence[AspectExample], name: str, width: int) -> tuple[Array, Array]:
    """Return (rows, steps, width) of features, and their mask; one step of zeros if absent."""
    tensors = [r.inputs.get(name) for r in rows]
    longest = max([1, *(len(f) for f in tensors if f is not None)])
    padded = numpy.zeros((len(rows), longest, width), numpy.float32)
    mask = numpy.zeros((len(rows), longest), bool)
    for i, (row, features) in enumerate(zip(rows, tensors, strict=True)):
        if features is None:
            continue
        if features.ndim != 2 or features.shape[1] != width:
            shape = " x ".join(map(str, features.shape))
            raise UserError(f"{row.id}: {name} is {shape}, not steps x {width}")
        padded[i, : len(features)] = numpy.asarray(features)
        mask[i, : len(features)] = True
    return padded, mask


class Collator(ArrayCollator):
    """Collate rows to tensors. Equal tokenizer and options give equal batches."""

    @property
    def vocab_size(self) -> int:
        """Return the number of different tokens."""
        return int(self._tokenizer.get_vocab_size())

    def __call__(self, rows: Sequence[AspectExample]) -> Batch:
        """Collate rows in their order, with labels, teacher probabilities and weights.

        Raises:
            UserError: Features have another width than expected.
        """
        import torch

        arrays = self.collate(rows)
        return Batch(
            ids=tuple(r.id for r in rows),
            inputs={k: torch.from_numpy(v) for k, v in arrays.inputs.items()},
            mask={k: torch.from_numpy(v) for k, v in arrays.mask.items()},
            present={k: torch.from_numpy(v) for k, v in arrays.present.items()},
            target=_targets(rows),
            texts=tuple(self.visible_text(r.text) for r in rows),
            teacher_probs=_teacher_probs(rows),
            weight=torch.tensor([r.weight for r in rows]),
        )


def _targets(rows: Sequence[AspectExample]) -> "Tensor | None":
    import torch

    if all(r.target is None for r in rows):
        return None
    return torch.tensor([-1 if r.target is None else CLASSES.index(r.target) for r in rows])


def _teacher_probs(rows: Sequence[AspectExample]) -> "Tensor | None":
    import torch

    if not any(r.teacher_probs for r in rows):
        return None
    return torch.tensor([r.teacher_probs or (0.0,) * len(CLASSES) for r in rows])
