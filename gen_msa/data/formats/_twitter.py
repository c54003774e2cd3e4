"""Twitter-2015/2017 rows, whichever way they are written: one aspect each, marked by `$T$`.

The place of an aspect is where the marker stands, never where a search finds the term: a term may
stand in the text twice. Blanks around the text are dropped, because the 4-line files write `"$T$
"` where the TSV writes `"$T$"`; both then give equal examples. Adjacent rows with the same
restored text and picture are one post, named PICTURE-N for the N-th post of the file. Knows
nothing of files.

    row = row_of("the $T$ is great", "food", Polarity.POSITIVE, "1.jpg", line=2)
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
_HINT = "the text must hold $T$ exactly once, where the aspect stood"


@dataclass(frozen=True)
class TwitterRow:
    """One aspect of a post and its gold label."""

    line: int
    id: str
    """The post's own id; empty when it is to be made from picture and number."""
    text: str
    aspect: Aspect
    polarity: Polarity
    image: str
    raw: bytes

    @property
    def post_key(self) -> tuple[str, str, str]:
        """What rows of one post have in common."""
        return self.id, self.text, self.image


def parse_marked_row(
    marked: str, term: str, polarity: Polarity, image: str, *, line: int, raw: bytes, id: str = ""
) -> TwitterRow:
    """A row from its text with the marker in it. Raises `ValueError` when it cannot be restored."""
    n_markers = marked.count(TARGET_MARKER)
    if n_markers != 1:
        raise ValueError(f"post.text: {n_markers} markers {TARGET_MARKER} in the text, not one")
    if not term.strip():
        raise ValueError("post.aspects: the aspect is empty")
    if not image.strip():
        raise ValueError("post.media: no picture is named")
    text_before, _, text_after = marked.strip().partition(TARGET_MARKER)
    term = term.strip()
    aspect = Aspect(term=term, start=len(text_before))
    return TwitterRow(
        line, id, text_before + term + text_after, aspect, polarity, image.strip(), raw
    )


def join_posts(
    path: Path, rows: Iterable[TwitterRow | Rejected], first_number: int = 1
) -> Iterator[Example | Rejected]:
    """Adjacent rows joined into posts; `first` is the number of the first post.

    An aspect that comes again at the same place with the same label is set aside once; one that
    comes with another label is set aside altogether, because neither label can be trusted.
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
            reason = f"{row.aspect.term!r} at {row.aspect.start} comes twice with the same label"
            yield reject_row(path, row.line, f"post.aspects: {reason}", row.raw, "drop one row")
        else:
            pending.append(row)
    if pending:
        yield from _build_post(path, pending, first_number)


def _build_post(path: Path, rows: list[TwitterRow], number: int) -> Iterator[Example | Rejected]:
    all_aspects = [r.aspect for r in rows]
    unambiguous = [r for r in rows if all_aspects.count(r.aspect) == 1]
    for row in rows:
        if row not in unambiguous:
            reason = f"{row.aspect.term!r} at {row.aspect.start} comes with different labels"
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
    """Marked text, term, label and picture for each aspect.

    Raises `UserError` for what a row plainly cannot say; the rest shows when it is read back.
    """
    post = example.post
    if len(post.media) != 1:
        raise unsupported_field_error(name, example, "post.media", "exactly one picture a post")
    if not post.aspects:
        raise unsupported_field_error(name, example, "post.aspects", "at least one aspect a post")
    labels = {o.aspect: o.polarity for o in example.opinions_by(GOLD_ANNOTATOR)}
    for aspect in post.aspects:
        polarity = labels.get(aspect)
        if aspect.start is None or not aspect.term:
            raise unsupported_field_error(
                name, example, "post.aspects", f"{aspect.term!r} has no place in the text"
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
    """The post's id, or nothing when reading would make the same one from picture and number."""
    default_id = f"{PurePosixPath(example.post.media[0].path).stem}-{number}"
    return "" if example.post.id == default_id else example.post.id
