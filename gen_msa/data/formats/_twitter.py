"""Rows of Twitter-2015/2017, which all its file formats share: one aspect each, marked by `$T$`.

The offset of an aspect is the offset of the marker, never of a search, because a term may occur in
the text twice. Whitespace around the text is dropped: the 4-line files have `"$T$ "` where the TSV
has `"$T$"`, and both give equal examples. Adjacent rows with the same restored text and image
are one post, named IMAGE-N for the N-th post of the file.

    parse_marked_row("the $T$ is great", "food", Polarity.POSITIVE, "1.jpg", line=2, raw=b"")
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    gold_opinion,
    image_media,
    reject_row,
    unsupported_field_error,
)
from gen_msa.types import Aspect, Example, Polarity, Post, Rejected

TARGET_MARKER = "$T$"
_HINT = "the text must have $T$ exactly once, in place of the aspect"


@dataclass(frozen=True)
class TwitterRow:
    """One aspect of a post and its gold label."""

    line: int
    id: str
    """The id of the post; empty to generate it from image and number."""
    text: str
    aspect: Aspect
    polarity: Polarity
    image: str
    raw: bytes

    @property
    def post_key(self) -> tuple[str, str, str]:
        """The key that all rows of one post share."""
        return self.id, self.text, self.image


def parse_marked_row(
    marked: str, term: str, polarity: Polarity, image: str, *, line: int, raw: bytes, id: str = ""
) -> TwitterRow:
    """Parse a row with a marked text.

    Args:
        marked: The text with `$T$` in place of the term.
        term: The term.
        polarity: The gold label.
        image: The image path.
        line: The 1-based line of the row.
        raw: The bytes of the row, for messages.
        id: The id of the post; "" for a generated one.

    Returns:
        The row, with the full text and the term's character offset in it.

    Raises:
        ValueError: The text does not have exactly one marker, or term or image are empty.
    """
    n_markers = marked.count(TARGET_MARKER)
    if n_markers != 1:
        raise ValueError(f"post.text: {n_markers} markers {TARGET_MARKER} in the text, not one")
    if not term.strip():
        raise ValueError("post.aspects: the aspect is empty")
    if not image.strip():
        raise ValueError("post.media: the image is missing")
    text_before, _, text_after = marked.strip().partition(TARGET_MARKER)
    term = term.strip()
    aspect = Aspect(term=term, start=len(text_before))
    return TwitterRow(
        line, id, text_before + term + text_after, aspect, polarity, image.strip(), raw
    )


def join_posts(
    path: Path, rows: Iterable[TwitterRow | Rejected], first_number: int = 1
) -> Iterator[Example | Rejected]:
    """Join adjacent rows into posts.

    Of rows with the same aspect and label, the later one is rejected; rows with the same aspect and
    different labels are all rejected, because no label can be trusted.

    Args:
        path: The file, for messages.
        rows: The rows.
        first_number: The number of the first post.

    Yields:
        The example of each post, in the order of the rows, and `Rejected` for each row left out.
    """
    pending: list[TwitterRow] = []
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        if pending and pending[0].post_key != row.post_key:
            yield from _build_post(path, pending, first_number)
            first_number += 1
            pending = []
        same_aspect = [h for h in pending if h.aspect == row.aspect]
        if any(h.polarity == row.polarity for h in same_aspect):
            reason = f"{row.aspect.term!r} at {row.aspect.start} occurs twice with the same label"
            yield reject_row(path, row.line, f"post.aspects: {reason}", row.raw, "remove one row")
        else:
            pending.append(row)
    if pending:
        yield from _build_post(path, pending, first_number)


def _build_post(path: Path, rows: list[TwitterRow], number: int) -> Iterator[Example | Rejected]:
    all_aspects = [r.aspect for r in rows]
    unambiguous = [r for r in rows if all_aspects.count(r.aspect) == 1]
    for row in rows:
        if row not in unambiguous:
            reason = f"{row.aspect.term!r} at {row.aspect.start} occurs with different labels"
            yield reject_row(
                path, row.line, f"opinions.polarity: {reason}", row.raw, "keep one row"
            )
    if unambiguous:
        _, text, image = rows[0].post_key
        yield Example(
            post=Post(
                id=rows[0].id or f"{PurePosixPath(image).stem}-{number}",
                text=text,
                media=image_media([image]),
                aspects=tuple(r.aspect for r in unambiguous),
            ),
            opinions=tuple(gold_opinion(r.aspect, r.polarity) for r in unambiguous),
        )


def marked_rows(name: str, example: Example) -> Iterator[tuple[str, str, Polarity, str]]:
    """Yield marked text, term, label and image path for each aspect.

    Args:
        name: The format, for messages.
        example: The example.

    Raises:
        UserError: The format cannot store the example. Other fields that do not fit are found when
            the rows are read back.
    """
    post = example.post
    if len(post.media) != 1:
        raise unsupported_field_error(name, example, "post.media", "exactly one image per post")
    if not post.aspects:
        raise unsupported_field_error(name, example, "post.aspects", "at least one aspect per post")
    labels = {o.aspect: o.polarity for o in example.opinions_by(GOLD_ANNOTATOR)}
    for aspect in post.aspects:
        polarity = labels.get(aspect)
        if aspect.start is None or not aspect.term:
            raise unsupported_field_error(
                name, example, "post.aspects", f"{aspect.term!r} has no offset"
            )
        if polarity is None:
            raise unsupported_field_error(
                name, example, "opinions", f"{aspect.term!r} has no gold label"
            )
        if any(c in f"{post.text}{post.media[0].path}" for c in "\n\r"):
            raise unsupported_field_error(name, example, "post.text", "a line break")
        marked = (
            post.text[: aspect.start] + TARGET_MARKER + post.text[aspect.start + len(aspect.term) :]
        )
        yield marked, aspect.term, polarity, post.media[0].path


def explicit_id(example: Example, number: int) -> str:
    """Return the id of a post, or "" if reading would generate the same id.

    Args:
        example: The post, with one image.
        number: The 1-based number of the post in the file.
    """
    default_id = f"{PurePosixPath(example.post.media[0].path).stem}-{number}"
    return "" if example.post.id == default_id else example.post.id
