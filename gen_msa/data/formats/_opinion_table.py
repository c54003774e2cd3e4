"""Read back the tables that `explain --csv` and `--xlsx` write.

They are made for people: quotes are joined, provenance is prose, and a text that a spreadsheet
could take for a formula has an apostrophe before it.

    record = restore(record) if is_opinion_table(record.cells) else record
"""

import json
from collections.abc import Collection

from gen_msa.data.formats._table import TableRecord
from gen_msa.formula_guard import unescape_formula

_COLUMNS = frozenset({"post", "text", "annotator", "probability", "evidence", "provenance"})


def is_opinion_table(columns: Collection[str]) -> bool:
    """Return whether a table has the columns of our own."""
    return "id" not in columns and set(columns) >= _COLUMNS


def restore(record: TableRecord) -> TableRecord:
    """Return a record of such a table under the names and in the forms of the format `csv`.

    Args:
        record: The record.
    """
    cells = {name: unescape_formula(cell) for name, cell in record.cells.items()}
    del cells["probability"]  # that of the label, which has a column of its own
    cells = {"id": cells.pop("post"), **cells}
    quotes = [quote for quote in cells["evidence"].split(" | ") if quote]
    cells["evidence"] = json.dumps([_evidence(cells["text"], q) for q in quotes]) if quotes else ""
    notes = (note.partition("=") for note in cells["provenance"].split("; ") if "=" in note)
    provenance = {key: value for key, _, value in notes}
    cells["provenance"] = json.dumps(provenance) if provenance else ""
    own = {name.removeprefix("meta."): cell for name, cell in cells.items() if "meta." in name[:5]}
    rest = {name: cell for name, cell in cells.items() if "meta." not in name[:5]}
    if meta := {name: cell for name, cell in own.items() if cell}:
        known = json.loads(rest.get("meta") or "{}")
        rest["meta"] = json.dumps({**known, **meta})
    return TableRecord(record.line, rest, record.raw)


def _evidence(text: str, quote: str) -> dict[str, object]:
    start = text.find(quote)
    if start < 0:
        return {"quote": quote, "source": "cue"}
    return {"quote": quote, "start": start}
