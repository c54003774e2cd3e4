"""Shared code of the formats: rejected rows, polarity words, and the round-trip check.

Before the records of an example are written, `check_round_trip` reads them back; a difference is a
`UserError` that names the field.

    for records in check_round_trip("csv", examples, dump, parse, joins_adjacent=True): ...
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from gen_msa.data.formats.labels import parse_polarity
from gen_msa.errors import UserError
from gen_msa.jsonl import atomic_write
from gen_msa.spans import locate_phrases
from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Rejected, Status


def locate_aspects(text: str, terms: Iterable[str]) -> tuple[Aspect, ...]:
    """Locate the terms of a post, each at its first mention that is not taken yet.

    A term listed more often than it is mentioned gives equal aspects, which `Post` refuses.

    Args:
        text: The text of the post.
        terms: The terms, in order of mention.

    Returns:
        One aspect for each term, in the letters of the text (`spans.locate_phrases`);
        `start=None` for a term without a mention.
    """
    terms = list(terms)
    return tuple(
        Aspect(term=text[slice(*span)], start=span[0]) if span else Aspect(term=term)
        for term, span in zip(terms, locate_phrases(text, terms), strict=True)
    )


NumberedLine = tuple[int, bytes]
"""The 1-based number of a line or record, and its bytes without the line end."""

R = TypeVar("R")

GOLD_ANNOTATOR = "gold"
CATEGORY_ANNOTATOR = "gold_category"
"""Annotator of labels of categories, whose aspect has no place in the text."""


def reject_row(path: Path, line: int, reason: str, raw: bytes | str, hint: str = "") -> Rejected:
    """Return a `Rejected` with at most 500 characters of the row.

    Args:
        path: The file.
        line: The 1-based line or record.
        reason: Why the row was rejected.
        raw: The row.
        hint: How to repair it.
    """
    text = raw[:500].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:500]
    return Rejected(file=str(path), line=line, reason=reason, hint=hint, raw=text)


def gold_opinion(aspect: Aspect, polarity: Polarity) -> Opinion:
    """Return a gold label.

    Args:
        aspect: The labelled aspect.
        polarity: Its label.
    """
    return Opinion(annotator=GOLD_ANNOTATOR, aspect=aspect, polarity=polarity)


def gold_opinion_from_text(aspect: Aspect, label_text: str) -> Opinion:
    """Return a gold label from a file's label text; one outside the three classes is `raw`.

    `conflict` (SemEval) becomes `polarity=None, status=unparsed, raw="conflict"`.

    Args:
        aspect: The aspect.
        label_text: The label.
    """
    polarity = parse_polarity(label_text)
    if polarity is not None and label_text == polarity.value:
        return gold_opinion(aspect, polarity)
    status = Status.OK if polarity else Status.UNPARSED
    return Opinion(
        annotator=GOLD_ANNOTATOR, aspect=aspect, polarity=polarity, raw=label_text, status=status
    )


def image_media(paths: Iterable[str]) -> tuple[Media, ...]:
    """Return image media for `paths`."""
    return tuple(Media(kind="image", path=p) for p in paths)


def unsupported_field_error(name: str, example: Example, field: str, reason: str = "") -> UserError:
    """Return the error for an example that a format cannot store.

    Args:
        name: The format.
        example: The example.
        field: The field.
        reason: Details, or "".
    """
    return UserError(
        f"{name} cannot store {field} of post {example.post.id!r}{': ' + reason if reason else ''}",
        hint="write jsonl or parquet, which store every field",
    )


def refuse_examples(
    name: str, path: Path, examples: Iterable[Example], empty: bytes = b"[]\n"
) -> None:
    """Write a file without posts; formats of other tools' exports are only read.

    Args:
        name: The format.
        path: The file to write.
        examples: The examples.
        empty: A file of the format without posts.

    Raises:
        UserError: There is an example.
    """
    with atomic_write(path) as file:
        file.write(empty)
        for example in examples:
            reason = "such files are exports of another program, and only read"
            raise unsupported_field_error(name, example, "post.id", reason)


def check_round_trip(
    name: str,
    examples: Iterable[Example],
    dump: Callable[[Example, int], list[R]],
    parse: Callable[[list[R], int], Iterable[Example | Rejected]],
    *,
    joins_adjacent: bool = False,
) -> Iterator[list[R]]:
    """Yield the records of each example after checking that they are read back equal.

    Args:
        name: The format.
        examples: The examples.
        dump: Returns the records of an example with the 1-based number of its post.
        parse: Parses records; receives the number of the first post.
        joins_adjacent: Whether adjacent records may belong to one post, so that an example is also
            read back together with the previous one.

    Raises:
        UserError: A field would be lost.
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
    """Return the error for an example that is not read back equal.

    Args:
        name: The format.
        expected: The examples written; the last one is the example.
        actual: The rows read back.
    """
    example = expected[-1]
    if not isinstance(example, Example):
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
