"""MELD: one row an utterance of a dialogue, with its sentiment and emotion.

The text is the utterance; the sentiment is a gold opinion on the post as a whole, and the emotion
stands in that opinion's `how["emotion"]`, because a post never carries a label. Speaker,
dialogue, utterance, season, episode and times stay in `meta` under MELD's own column names: the
utterances before one have the same `Dialogue_ID` and a smaller `Utterance_ID`. The id is
FILE_STEM-DIALOGUE-UTTERANCE; files we write have a last column `id` that keeps any other. Knows
nothing of where files lie.

    list(formats["meld_csv"].read(Path("dev.csv")))
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from gen_msa.data.formats._rows import GOLD, Rows, checked, gold, no_room, polarity_of, rejected
from gen_msa.data.formats._table import Record, record_bytes, records
from gen_msa.data.formats.base import formats
from gen_msa.jsonl import MAX_LINE, reason_of, whole
from gen_msa.types import WHOLE_POST, Example, Post, Rejected

_COLUMNS = (
    *("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime", "id"),
)
_OWN = ("Utterance", "Emotion", "Sentiment", "id")
_NEED = ("Utterance", "Sentiment", "Dialogue_ID", "Utterance_ID")


@formats.register
class MeldCsv:
    """Reads and writes MELD's CSV."""

    suffixes: tuple[str, ...] = ()
    about = "MELD CSV: utterances of dialogues with sentiment and emotion."

    def read(self, path: Path) -> Rows:
        """Every utterance, in order; a row that cannot be read is `Rejected`."""
        with path.open("rb") as f:
            yield from _parse(path, records(f, path, _NEED))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """One row a post. Raises `UserError` naming a field without room."""
        header = record_bytes(_COLUMNS, path)

        def dump(example: Example, number: int) -> list[bytes]:
            row = record_bytes(_cells(example), path)
            if len(row) > MAX_LINE:
                raise no_room("meld_csv", example, "post.text", f"a row is over {MAX_LINE} bytes")
            return [row]

        def back(rows: list[bytes], number: int) -> Rows:
            return _parse(path, records(io.BytesIO(header + b"".join(rows)), path, _NEED))

        with whole(path) as f:
            f.write(header)
            for rows in checked("meld_csv", examples, dump, back):
                f.writelines(rows)


def _parse(path: Path, found: Iterable[Record | Rejected]) -> Iterator[Example | Rejected]:
    for record in found:
        if isinstance(record, Rejected):
            yield record
            continue
        try:
            yield _example(path, record.cells)
        except ValueError as e:
            reason = reason_of(e) if isinstance(e, ValidationError) else str(e)
            mend = "see the columns in the docstring"
            yield rejected(path, record.line, reason, record.raw.rstrip(b"\r\n"), mend)


def _example(path: Path, cells: dict[str, str]) -> Example:
    polarity = polarity_of(cells["Sentiment"])
    if polarity is None:
        raise ValueError(f"opinions.polarity: {cells['Sentiment']!r} is no sentiment")
    emotion = cells.get("Emotion")
    made_id = f"{path.stem}-{cells['Dialogue_ID']}-{cells['Utterance_ID']}"
    post = Post(
        id=cells.get("id") or made_id,
        text=cells["Utterance"],
        meta={k: v for k, v in cells.items() if k not in _OWN and v},
    )
    how = {"emotion": emotion} if emotion else {}
    return Example(
        post=post, opinions=(gold(WHOLE_POST, polarity).model_copy(update={"how": how}),)
    )


def _cells(example: Example) -> list[object]:
    post = example.post
    if len(example.opinions) != 1 or not example.said_by(GOLD):
        raise no_room("meld_csv", example, "opinions", "exactly one, by gold")
    opinion = example.opinions[0]
    own = {"Utterance": post.text, "id": post.id, "Sentiment": opinion.polarity}
    own["Emotion"] = opinion.how.get("emotion", "")
    return [own[c] if c in own else post.meta.get(c) for c in _COLUMNS]
