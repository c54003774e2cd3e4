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

from gen_msa.data.formats._rows import GOLD, gold, images, no_room, rejected
from gen_msa.types import Aspect, Example, Polarity, Post, Rejected

MARK = "$T$"
_MEND = "the text must hold $T$ exactly once, where the aspect stood"


@dataclass(frozen=True)
class Row:
    """One aspect of a post and its gold label."""

    line: int
    id: str
    """The post's own id; empty when it is to be made from picture and number."""
    text: str
    aspect: Aspect
    polarity: Polarity
    picture: str
    raw: bytes

    @property
    def post(self) -> tuple[str, str, str]:
        """What rows of one post have in common."""
        return self.id, self.text, self.picture


def row_of(
    marked: str, term: str, polarity: Polarity, picture: str, *, line: int, raw: bytes, id: str = ""
) -> Row:
    """A row from its text with the marker in it. Raises `ValueError` when it cannot be restored."""
    marks = marked.count(MARK)
    if marks != 1:
        raise ValueError(f"post.text: {marks} markers {MARK} in the text, not one")
    if not term.strip():
        raise ValueError("post.aspects: the aspect is empty")
    if not picture.strip():
        raise ValueError("post.media: no picture is named")
    before, _, after = marked.strip().partition(MARK)
    term = term.strip()
    aspect = Aspect(term=term, start=len(before))
    return Row(line, id, before + term + after, aspect, polarity, picture.strip(), raw)


def posts(
    path: Path, rows: Iterable[Row | Rejected], first: int = 1
) -> Iterator[Example | Rejected]:
    """Adjacent rows joined into posts; `first` is the number of the first post.

    An aspect that comes again at the same place with the same label is set aside once; one that
    comes with another label is set aside altogether, because neither label can be trusted.
    """
    held: list[Row] = []
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        if held and held[0].post != row.post:
            yield from _post(path, held, first)
            first += 1
            held = []
        same = [h for h in held if h.aspect == row.aspect]
        if any(h.polarity == row.polarity for h in same):
            reason = f"{row.aspect.term!r} at {row.aspect.start} comes twice with the same label"
            yield rejected(path, row.line, f"post.aspects: {reason}", row.raw, "drop one row")
        else:
            held.append(row)
    if held:
        yield from _post(path, held, first)


def _post(path: Path, rows: list[Row], number: int) -> Iterator[Example | Rejected]:
    every = [r.aspect for r in rows]
    good = [r for r in rows if every.count(r.aspect) == 1]
    for row in rows:
        if row not in good:
            reason = f"{row.aspect.term!r} at {row.aspect.start} comes with different labels"
            yield rejected(path, row.line, f"opinions.polarity: {reason}", row.raw, "keep one row")
    if good:
        _, text, picture = rows[0].post
        yield Example(
            post=Post(
                id=rows[0].id or f"{PurePosixPath(picture).stem}-{number}",
                text=text,
                media=images([picture]),
                aspects=tuple(r.aspect for r in good),
            ),
            opinions=tuple(gold(r.aspect, r.polarity) for r in good),
        )


def marked_rows(name: str, example: Example) -> Iterator[tuple[str, str, Polarity, str]]:
    """Marked text, term, label and picture for each aspect.

    Raises `UserError` for what a row plainly cannot say; the rest shows when it is read back.
    """
    post = example.post
    if len(post.media) != 1:
        raise no_room(name, example, "post.media", "exactly one picture a post")
    if not post.aspects:
        raise no_room(name, example, "post.aspects", "at least one aspect a post")
    labels = {o.aspect: o.polarity for o in example.said_by(GOLD)}
    for aspect in post.aspects:
        polarity = labels.get(aspect)
        if aspect.start is None or not aspect.term:
            raise no_room(
                name, example, "post.aspects", f"{aspect.term!r} has no place in the text"
            )
        if polarity is None:
            raise no_room(name, example, "opinions", f"{aspect.term!r} has no gold label")
        if any(c in f"{post.text}{post.media[0].path}" for c in "\n\r"):
            raise no_room(name, example, "post.text", "a line break")
        marked = post.text[: aspect.start] + MARK + post.text[aspect.start + len(aspect.term) :]
        yield marked, aspect.term, polarity, post.media[0].path


def id_of(example: Example, number: int) -> str:
    """The post's id, or nothing when reading would make the same one from picture and number."""
    made = f"{PurePosixPath(example.post.media[0].path).stem}-{number}"
    return "" if example.post.id == made else example.post.id
