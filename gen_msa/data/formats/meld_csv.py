"""MELD: one row per utterance of a dialogue, with its sentiment and emotion.

The text is the utterance; the sentiment is a gold opinion on the post as a whole, and the emotion
is in that opinion's `provenance["emotion"]`, because a post never carries a label. Speaker,
dialogue, utterance, season, episode and times are in `meta` under MELD's column names: earlier
utterances have the same `Dialogue_ID` and a smaller `Utterance_ID`. The id is
FILE_STEM-DIALOGUE-UTTERANCE; written files have a last column `id` for any other id.

    list(formats["meld_csv"].read(Path("dev.csv")))
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    check_round_trip,
    gold_opinion,
    reject_row,
    unsupported_field_error,
)
from gen_msa.data.formats._table import TableRecord, iter_table_records, record_bytes
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.data.formats.labels import parse_polarity
from gen_msa.jsonl import MAX_LINE_BYTES, atomic_write, format_validation_error
from gen_msa.types import OVERALL_ASPECT, Example, Post, Rejected

_COLUMNS = (
    *("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime", "id"),
)
_MAPPED_COLUMNS = ("Utterance", "Emotion", "Sentiment", "id")
_REQUIRED_COLUMNS = ("Utterance", "Sentiment", "Dialogue_ID", "Utterance_ID")


@formats.register
class MeldCsv:
    """Reads and writes MELD's CSV."""

    suffixes: tuple[str, ...] = ()
    about = "MELD CSV: utterances of dialogues with sentiment and emotion."

    def read(self, path: Path) -> ExampleStream:
        """Read every utterance, in order; a row that cannot be parsed is `Rejected`."""
        with path.open("rb") as f:
            yield from _parse(path, iter_table_records(f, path, _REQUIRED_COLUMNS))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one row per post.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
        header = record_bytes(_COLUMNS, path)

        def dump(example: Example, number: int) -> list[bytes]:
            row = record_bytes(_cells(example), path)
            if len(row) > MAX_LINE_BYTES:
                raise unsupported_field_error(
                    "meld_csv", example, "post.text", f"a row is over {MAX_LINE_BYTES} bytes"
                )
            return [row]

        def parse_back(rows: list[bytes], number: int) -> ExampleStream:
            return _parse(
                path,
                iter_table_records(io.BytesIO(header + b"".join(rows)), path, _REQUIRED_COLUMNS),
            )

        with atomic_write(path) as f:
            f.write(header)
            for rows in check_round_trip("meld_csv", examples, dump, parse_back):
                f.writelines(rows)


def _parse(path: Path, records: Iterable[TableRecord | Rejected]) -> Iterator[Example | Rejected]:
    for record in records:
        if isinstance(record, Rejected):
            yield record
            continue
        try:
            yield _example(path, record.cells)
        except ValueError as e:
            reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
            hint = "the docstring of gen_msa.data.formats.meld_csv describes the columns"
            yield reject_row(path, record.line, reason, record.raw.rstrip(b"\r\n"), hint)


def _example(path: Path, cells: dict[str, str]) -> Example:
    polarity = parse_polarity(cells["Sentiment"])
    if polarity is None:
        raise ValueError(f"opinions.polarity: {cells['Sentiment']!r} is not a sentiment")
    emotion = cells.get("Emotion")
    default_id = f"{path.stem}-{cells['Dialogue_ID']}-{cells['Utterance_ID']}"
    post = Post(
        id=cells.get("id") or default_id,
        text=cells["Utterance"],
        meta={k: v for k, v in cells.items() if k not in _MAPPED_COLUMNS and v},
    )
    provenance = {"emotion": emotion} if emotion else {}
    return Example(
        post=post,
        opinions=(
            gold_opinion(OVERALL_ASPECT, polarity).model_copy(update={"provenance": provenance}),
        ),
    )


def _cells(example: Example) -> list[object]:
    post = example.post
    if len(example.opinions) != 1 or not example.opinions_by(GOLD_ANNOTATOR):
        raise unsupported_field_error("meld_csv", example, "opinions", "exactly one, by gold")
    opinion = example.opinions[0]
    mapped_cells = {"Utterance": post.text, "id": post.id, "Sentiment": opinion.polarity}
    mapped_cells["Emotion"] = opinion.provenance.get("emotion", "")
    return [mapped_cells[c] if c in mapped_cells else post.meta.get(c) for c in _COLUMNS]
