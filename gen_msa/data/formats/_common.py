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

# Where the terms a user names stand in a text: the first exact mention not yet taken.


def locate_aspects(text: str, terms: Iterable[str]) -> tuple[Aspect, ...]:
    """An aspect for each term. The same term again means its next mention; `start=None` after that.

    A term listed more often than it is mentioned gives equal aspects, which `Post` refuses.
    """
    next_offsets: dict[str, int] = {}
    aspects = []
    for term in terms:
        at = text.find(term, next_offsets.get(term, 0)) if term else -1
        if at >= 0:
            next_offsets[term] = at + len(term)
        elif term in next_offsets:
            next_offsets[term] = len(text) + 1
        aspects.append(Aspect(term=term, start=at if at >= 0 else None))
    return tuple(aspects)


ExampleStream = Iterator[Example | Rejected]
NumberedLine = tuple[int, bytes]
"""A line or record of a file without its line end, and its 1-based number."""

R = TypeVar("R")

GOLD_ANNOTATOR = "gold"
_POLARITY_BY_NAME = {p.value: p for p in Polarity}


def reject_row(path: Path, line: int, reason: str, raw: bytes | str, hint: str = "") -> Rejected:
    """A bad row, with at most 500 characters of it."""
    text = raw[:500].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:500]
    return Rejected(file=str(path), line=line, reason=reason, hint=hint, raw=text)


def parse_polarity(label_text: str) -> Polarity | None:
    """The class that `word` names exactly, whatever its case; None for any other word."""
    return _POLARITY_BY_NAME.get(label_text.strip().lower())


def gold_opinion(aspect: Aspect, polarity: Polarity) -> Opinion:
    """A gold label."""
    return Opinion(annotator=GOLD_ANNOTATOR, aspect=aspect, polarity=polarity)


def gold_opinion_from_text(aspect: Aspect, label_text: str) -> Opinion:
    """A gold label from the file's own word; one outside the three classes is kept as `raw`.

    `conflict` (SemEval) becomes `polarity=None, status=unparsed, raw="conflict"`: not one of the
    classes, and not lost.
    """
    polarity = parse_polarity(label_text)
    if polarity is not None and label_text == polarity.value:
        return gold_opinion(aspect, polarity)
    status = Status.OK if polarity else Status.UNPARSED
    return Opinion(
        annotator=GOLD_ANNOTATOR, aspect=aspect, polarity=polarity, raw=label_text, status=status
    )


def image_media(paths: Iterable[str]) -> tuple[Media, ...]:
    """Pictures by reference."""
    return tuple(Media(kind="image", path=p) for p in paths)


def unsupported_field_error(name: str, example: Example, field: str, reason: str = "") -> UserError:
    """The error for an example that does not fit a format."""
    return UserError(
        f"{name} has no room for {field} of post {example.post.id!r}{': ' + reason if reason else ''}",
        hint="write jsonl or parquet, which hold every field",
    )


def check_round_trip(
    name: str,
    examples: Iterable[Example],
    dump: Callable[[Example, int], list[R]],
    parse: Callable[[list[R], int], Iterable[Example | Rejected]],
    *,
    joins_adjacent: bool = False,
) -> Iterator[list[R]]:
    """The records of each example, once they have been read back and found equal to it.

    `dump` and `parse` are told the 1-based number of the first post. With `joins`, neighbouring
    records may belong to one post, so an example is read back together with the one before it.
    Raises `UserError` naming the field that would be lost.
    """
    previous: Example | None = None
    previous_records: list[R] = []
    for number, example in enumerate(examples, 1):
        records = dump(example, number)
        expected: list[Example | Rejected] = [example]
        actual = list(parse(records, number))
        if actual == expected and joins_adjacent and previous is not None:
            expected = [previous, example]
            actual = list(parse(previous_records + records, number - 1))
        if actual != expected:
            raise round_trip_error(name, expected, actual)
        previous, previous_records = example, records
        yield records


def round_trip_error(
    name: str, expected: Sequence[Example | Rejected], actual: Sequence[Example | Rejected]
) -> UserError:
    """The error for an example, the last of `wanted`, that was read back as the last of `back`."""
    example = expected[-1]
    if not isinstance(example, Example):  # `checked` wants examples only
        raise TypeError("a rejected row cannot be written")
    reasons = [r.reason for r in actual if isinstance(r, Rejected)]
    if reasons:
        return unsupported_field_error(name, example, _field_from_reason(reasons[0]), reasons[0])
    if len(actual) < len(expected):
        return unsupported_field_error(
            name, example, "post.id", "it would be joined with the post before it"
        )
    return unsupported_field_error(name, example, _first_difference(example, actual[-1]))


def _field_from_reason(reason: str) -> str:
    field = reason.split(":")[0]
    return field if field.startswith(("post", "opinions")) else "a field"


def _first_difference(expected: Example, actual: Example | Rejected) -> str:
    if isinstance(actual, Rejected):
        return "a field"
    for field in type(expected.post).model_fields:
        if getattr(expected.post, field) != getattr(actual.post, field):
            return f"post.{field}"
    if len(expected.opinions) == len(actual.opinions):
        for a, b in zip(expected.opinions, actual.opinions, strict=True):
            for field in type(a).model_fields:
                if getattr(a, field) != getattr(b, field):
                    return f"opinions.{field}"
    return "opinions"
