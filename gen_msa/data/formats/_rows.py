"""What every format shares: bad rows set aside, polarity words, and the proof that nothing is lost.

Knows nothing of any one format. Before an example's records are written, `checked` reads them
back; what does not come back equal is a `UserError` that names the field.

    for records in checked("csv", examples, dump, parse, joins=True): ...
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Rejected, Status

Rows = Iterator[Example | Rejected]
Line = tuple[int, bytes]
"""A line or record of a file without its line end, and its 1-based number."""

R = TypeVar("R")

GOLD = "gold"
_WORDS = {p.value: p for p in Polarity}


def rejected(path: Path, line: int, reason: str, raw: bytes | str, mend: str = "") -> Rejected:
    """A bad row, with at most 500 characters of it."""
    text = raw[:500].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:500]
    return Rejected(file=str(path), line=line, reason=reason, mend=mend, raw=text)


def polarity_of(word: str) -> Polarity | None:
    """The class that `word` names exactly, whatever its case; None for any other word."""
    return _WORDS.get(word.strip().lower())


def gold(aspect: Aspect, polarity: Polarity) -> Opinion:
    """A gold label."""
    return Opinion(by=GOLD, aspect=aspect, polarity=polarity)


def gold_word(aspect: Aspect, word: str) -> Opinion:
    """A gold label from the file's own word; one outside the three classes is kept as `raw`.

    `conflict` (SemEval) becomes `polarity=None, status=unparsed, raw="conflict"`: not one of the
    classes, and not lost.
    """
    polarity = polarity_of(word)
    if polarity is not None and word == polarity.value:
        return gold(aspect, polarity)
    unread = Status.OK if polarity else Status.UNPARSED
    return Opinion(by=GOLD, aspect=aspect, polarity=polarity, raw=word, status=unread)


def images(paths: Iterable[str]) -> tuple[Media, ...]:
    """Pictures by reference."""
    return tuple(Media(kind="image", path=p) for p in paths)


def no_room(name: str, example: Example, field: str, why: str = "") -> UserError:
    """The error for an example that does not fit a format."""
    return UserError(
        f"{name} has no room for {field} of post {example.post.id!r}{': ' + why if why else ''}",
        mend="write jsonl or parquet, which hold every field",
    )


def checked(
    name: str,
    examples: Iterable[Example],
    dump: Callable[[Example, int], list[R]],
    parse: Callable[[list[R], int], Iterable[Example | Rejected]],
    *,
    joins: bool = False,
) -> Iterator[list[R]]:
    """The records of each example, once they have been read back and found equal to it.

    `dump` and `parse` are told the 1-based number of the first post. With `joins`, neighbouring
    records may belong to one post, so an example is read back together with the one before it.
    Raises `UserError` naming the field that would be lost.
    """
    last: Example | None = None
    before: list[R] = []
    for number, example in enumerate(examples, 1):
        records = dump(example, number)
        wanted: list[Example | Rejected] = [example]
        back = list(parse(records, number))
        if back == wanted and joins and last is not None:
            wanted = [last, example]
            back = list(parse(before + records, number - 1))
        if back != wanted:
            raise lost(name, wanted, back)
        last, before = example, records
        yield records


def lost(
    name: str, wanted: Sequence[Example | Rejected], back: Sequence[Example | Rejected]
) -> UserError:
    """The error for an example, the last of `wanted`, that was read back as the last of `back`."""
    example = wanted[-1]
    if not isinstance(example, Example):  # `checked` wants examples only
        raise TypeError("a rejected row cannot be written")
    bad = [r.reason for r in back if isinstance(r, Rejected)]
    if bad:
        return no_room(name, example, _field_in(bad[0]), bad[0])
    if len(back) < len(wanted):
        return no_room(name, example, "post.id", "it would be joined with the post before it")
    return no_room(name, example, _first_difference(example, back[-1]))


def _field_in(reason: str) -> str:
    field = reason.split(":")[0]
    return field if field.startswith(("post", "opinions")) else "a field"


def _first_difference(wanted: Example, got: Example | Rejected) -> str:
    if isinstance(got, Rejected):
        return "a field"
    for field in type(wanted.post).model_fields:
        if getattr(wanted.post, field) != getattr(got.post, field):
            return f"post.{field}"
    if len(wanted.opinions) == len(got.opinions):
        for a, b in zip(wanted.opinions, got.opinions, strict=True):
            for field in type(a).model_fields:
                if getattr(a, field) != getattr(b, field):
                    return f"opinions.{field}"
    return "opinions"
