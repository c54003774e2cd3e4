"""Puts what several readers said of the same posts side by side, under the names they are shown by.

Each reader's answers lie in a JSONL file of examples, as `gen-msa explain` writes it. Rows are
joined by post id; a post that a reader has not is one it was silent about, and one that the data
has not is counted and said. Knows nothing of figures.

    data = load(open_source("twitter2015:dev"))
    data = gather(data, [Answers("builtin", Path("opinions.jsonl"))])
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from gen_msa.data import Source, open_source
from gen_msa.errors import UserError
from gen_msa.results import Cost, Costing
from gen_msa.types import Example, Rejected


@dataclass(frozen=True)
class Answers:
    """What one reader said, in a file."""

    name: str
    """As shown."""
    file: Path
    by: str = ""
    """Its `Opinion.by` in the file; empty: the only one there besides those already in the data."""
    reader: str = ""
    """As on the command line."""
    facts: dict[str, JsonValue] = field(default_factory=dict)
    cost: Cost | None = None
    costing: Costing | None = None
    seed_of: str = ""
    """Name of the reader that this one is another seed of; empty for a reader of its own."""


@dataclass(frozen=True)
class Gathered:
    """The posts of an evaluation with everything said about them."""

    examples: tuple[Example, ...]
    media_root: Path
    name: str
    sha256: str
    """Over every post and every opinion that came with the data, in order."""
    rejected: int = 0
    """Rows that could not be read from disk."""
    notes: tuple[str, ...] = ()

    def readers(self) -> list[str]:
        """Every name an opinion is by, in order of appearance."""
        return list(dict.fromkeys(o.by for e in self.examples for o in e.opinions))


def load(source: Source, limit: int | None = None) -> Gathered:
    """The examples in the first `limit` rows of `source` (None: in all), in memory.

    Raises `UserError` when there is none, or an id twice.
    """
    digest, rejected = hashlib.sha256(), 0
    found: dict[str, Example] = {}
    rows = source.rows()
    # Bad rows count, as they do where readers read: both are to see the same posts.
    for row in islice(rows, limit):
        if isinstance(row, Rejected):
            rejected += 1
            continue
        _only_once(row.post.id, found, source.name)
        found[row.post.id] = row
        digest.update(row.model_dump_json().encode())
    if not found:
        raise UserError(f"{source.name} holds no post that can be read")
    notes = [f"{rejected:,} rows of {source.name} could not be read from disk"] * bool(rejected)
    if limit is not None and next(rows, None) is not None:
        notes.append(f"only the first {limit:,} rows")
    return Gathered(
        tuple(found.values()),
        source.media_root,
        source.name,
        digest.hexdigest(),
        rejected,
        tuple(notes),
    )


def gather(data: Gathered, answers: Sequence[Answers]) -> Gathered:
    """`data` with the opinions of each of `answers` under its name."""
    at = {e.post.id: i for i, e in enumerate(data.examples)}
    examples, notes = list(data.examples), list(data.notes)
    taken = set(data.readers())
    for one in answers:
        if one.name in taken:
            raise UserError(
                f"{one.name!r} speaks in {data.name} already", mend="give the reader another name"
            )
        taken.add(one.name)
        unknown, heard, broken = 0, set[str](), 0
        by = one.by or _speaker(one, data)
        for example in open_source(str(one.file)).rows():
            if isinstance(example, Rejected):
                broken += 1
                continue
            _only_once(example.post.id, heard, str(one.file))
            heard.add(example.post.id)
            if example.post.id not in at:
                unknown += 1
                continue
            said = (o.model_copy(update={"by": one.name}) for o in example.said_by(by))
            place = at[example.post.id]
            examples[place] = examples[place].adding(*said)
        notes += _said_of(one, unknown, len(at.keys() - heard), data.name)
        notes += [f"{one.name}: {broken:,} rows of {one.file.name} cannot be read"] * bool(broken)
    return replace(data, examples=tuple(examples), notes=tuple(notes))


def _said_of(one: Answers, unknown: int, missing: int, data: str) -> Iterator[str]:
    if unknown:
        yield f"{one.name}: {unknown:,} posts of {one.file.name} are not in {data}; left out"
    if missing:
        refused = one.file.with_suffix(".rejected.jsonl")
        why = f" (why stands in {refused.name})" if refused.is_file() else ""
        yield f"{one.name}: silent about {missing:,} posts{why}; their aspects count as wrong"


def _only_once(post: str, known: object, where: str) -> None:
    if post in known:  # type: ignore[operator]
        raise UserError(
            f"{where}: the post id {post!r} stands there twice",
            mend="rows are joined by id: give each post its own",
        )


def _speaker(one: Answers, data: Gathered) -> str:
    known = set(data.readers())
    speakers = {o.by for e in _rows(one.file) for o in e.opinions} - known
    if len(speakers) != 1:
        found = ", ".join(sorted(speakers)) or "nobody"
        raise UserError(f"{one.file}: whose opinions? it holds {found}", mend="name one: FILE#NAME")
    return speakers.pop()


def _rows(path: Path) -> Iterator[Example]:
    return (r for r in open_source(str(path)).rows() if isinstance(r, Example))
