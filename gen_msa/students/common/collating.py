"""Rows made into a batch: text and aspect as one pair of token sequences, padded to the longest.

Words of a post can never become control tokens: `[SEP]` in a text is five characters. Where both
are too long the longer one, as a rule the text, loses its end; `Words.cut` says so. Knows nothing
of students.

    collate = Words(Path("tokenizer.json").read_text(), max_length=128)
    collate([Row("1/0", "The soup was good", Aspect(term="soup", start=4))]).x["text"]
"""

import re
from collections.abc import Sequence

import torch
from tokenizers import Encoding, Tokenizer

from gen_msa.errors import UserError
from gen_msa.students import CLASSES, Batch, Row

MASK = "…"
"""What stands for a label's word that is hidden."""
_LABELS = re.compile(
    r"(?<!\w)(?:non-?)?(?:positiv\w*|negativ\w*|neutral\w*|pos|neg|neu)(?!\w)", re.IGNORECASE
)


class Words:
    """Collates text. Two of the same tokenizer and options make the same batches."""

    def __init__(self, tokenizer: str, *, max_length: int = 128, mask_labels: bool = False) -> None:
        """`tokenizer`: a `tokenizer.json` as text; `max_length`: tokens of a row, all included.

        `mask_labels` hides the words positive, negative and neutral, in all their forms, before a
        student sees the text. Raises `UserError` for text that is no tokenizer.
        """
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as e:  # the library raises nothing narrower
            raise UserError(f"tokenizer.json cannot be read: {e}") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, strategy="longest_first")
        self._tokenizer.encode_special_tokens = True
        self.max_length = max_length
        self.mask_labels = mask_labels
        self.source = tokenizer

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return int(self._tokenizer.get_vocab_size())

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """The rows in their order. Targets come when every row has one."""
        encoded = [self._encode(r) for r in rows]
        longest = max(len(e.ids) for e in encoded)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        aspect = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, e in enumerate(encoded):
            n = len(e.ids)
            ids[i, :n] = torch.tensor(e.ids)
            mask[i, :n] = True
            aspect[i, :n] = torch.tensor([s == 1 for s in e.sequence_ids])
        targets = [CLASSES.index(r.target) for r in rows if r.target is not None]
        return Batch(
            ids=tuple(r.id for r in rows),
            x={"text": ids},
            mask={"text": mask, "aspect": aspect},
            present={"text": torch.tensor([bool(r.text.strip()) for r in rows])},
            target=torch.tensor(targets) if len(targets) == len(rows) else None,
            raw_text=tuple(self.seen(r.text) for r in rows),
        )

    def seen(self, text: str) -> str:
        """The text as the student is shown it."""
        return _LABELS.sub(MASK, text) if self.mask_labels else text

    def length(self, row: Row) -> int:
        """Tokens of a row, cut ones not counted."""
        return len(self._encode(row).ids)

    def cut(self, row: Row) -> bool:
        """Whether the row's text is too long to be seen whole."""
        return bool(self._encode(row).overflowing)

    def _encode(self, row: Row) -> Encoding:
        return self._tokenizer.encode(self.seen(row.text), row.aspect.term)
