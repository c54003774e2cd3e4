"""The CSV of InstructABSA: `raw_text`, and lists of aspect terms and categories as Python literals.

Terms are located at whole words, in order. `noaspectterm` and `noaspectcategory` stand for an empty
list. Categories are opinions by `gold_category`. Other columns go to `meta`. Only read.

    sentenceId,raw_text,aspectTerms,aspectCategories
    1,good tea,"[{'term': 'tea', 'polarity': 'positive'}]","[…]"
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gen_msa.data.formats._common import locate_aspects, refuse_examples, reject_row
from gen_msa.data.formats._encoding import open_as_utf8
from gen_msa.data.formats._labelled_terms import LabelledTerm, example, parse_literal
from gen_msa.data.formats._table import TableRecord, iter_table_records
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.jsonl import format_validation_error
from gen_msa.types import Example, Rejected

_REQUIRED_COLUMNS = ("raw_text", "aspectTerms")
_NOTHING = ("noaspectterm", "noaspectcategory", "")


@formats.register
class InstructAbsa:
    """Reads the CSV of InstructABSA."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".csv",)
    about = "InstructABSA CSV: raw_text, aspectTerms and aspectCategories as lists (read only)."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the header has the columns."""
        header = head.split(b"\n")[0]
        return all(c.encode() in header for c in _REQUIRED_COLUMNS)

    def read(self, path: Path) -> ExampleStream:
        """Read every sentence, in order; a bad one is `Rejected`."""
        with open_as_utf8(path) as f:
            for record in iter_table_records(f, path, _REQUIRED_COLUMNS):
                yield record if isinstance(record, Rejected) else _read_row(path, record)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Refuse to write examples.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: There is an example.
        """
        header = ",".join(_REQUIRED_COLUMNS).encode() + b"\n"
        refuse_examples("instruct_absa", path, examples, header)


def _read_row(path: Path, record: TableRecord) -> Example | Rejected:
    cells = dict(record.cells)
    try:
        text = cells.pop("raw_text")
        terms = _pairs(cells.pop("aspectTerms"), "term")
        categories = _pairs(cells.pop("aspectCategories", ""), "category")
        post_id = cells.pop("sentenceId", "") or f"{path.stem}-{record.line}"
        aspects = locate_aspects(text, [name for name, _ in terms])
        labelled = [LabelledTerm(a, label) for a, (_, label) in zip(aspects, terms, strict=True)]
        labelled += [LabelledTerm(None, label, name) for name, label in categories]
        row = example(post_id, text, labelled)
        meta = {k: v for k, v in cells.items() if v}
        return row.model_copy(update={"post": row.post.model_copy(update={"meta": meta})})
    except ValueError as e:
        reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
        hint = "aspectTerms is a list such as [{'term': 'tea', 'polarity': 'positive'}]"
        return reject_row(path, record.line, reason, record.raw, hint)


def _pairs(cell: str, key: str) -> list[tuple[str, str]]:
    """Return name and label of each item of a list."""
    items: Any = parse_literal(cell) if cell.strip() else []
    if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
        raise ValueError(f"{cell[:60]!r} is no list of terms")
    pairs = [(str(i.get(key, "")), str(i.get("polarity", ""))) for i in items]
    return [(name, label) for name, label in pairs if name not in _NOTHING]
