"""Turn what a Python user has (text, rows, a data frame, a file) into posts.

read_posts("posts.jsonl")
as_posts(["Great screen, awful battery"], aspects=["screen", "battery"])
as_posts(frame, text="caption", image="img_path", aspects="mentioned")
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, overload

from pydantic import ValidationError

from gen_msa.data import ExampleSource, open_examples
from gen_msa.data.formats import SimpleRow, format_by_suffix, locate_aspects, parse_label_map
from gen_msa.data.given_aspects import locate_missing_offsets, with_aspects
from gen_msa.data.unpacking import UNPACKED_SUFFIXES
from gen_msa.errors import UserError, did_you_mean
from gen_msa.input_notes import InputNotes
from gen_msa.jsonl import format_validation_error
from gen_msa.types import Aspect, Example, Media, Post, Rejected

AspectLike: TypeAlias = str | Aspect
PostsLike: TypeAlias = "str | Path | Posts | Post | Example | Mapping[str, Any] | Iterable[Any]"
"""A text, a file, posts, rows, or a pandas or Polars data frame."""


@dataclass(frozen=True)
class Posts(Sequence[Post]):
    """Posts in memory, with the opinions that came with them."""

    examples: tuple[Example, ...]
    """Each post with its opinions (gold labels and earlier answers)."""
    media_root: Path
    """Folder that image paths are relative to."""
    name: str = "posts"
    rejected: tuple[Rejected, ...] = ()
    """Rows that could not be read: file, line, reason and hint."""
    notes: InputNotes = field(default_factory=InputNotes, compare=False)
    """What of the file was guessed or not used."""

    @overload
    def __getitem__(self, index: int) -> Post: ...
    @overload
    def __getitem__(self, index: slice) -> "Posts": ...
    def __getitem__(self, index: int | slice) -> "Post | Posts":
        if isinstance(index, slice):
            return replace(self, examples=self.examples[index])
        return self.examples[index].post

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Post]:
        return (e.post for e in self.examples)

    def __repr__(self) -> str:
        bad = f", {len(self.rejected)} rejected rows" if self.rejected else ""
        return f"<Posts: {len(self):,} of {self.name}{bad}>"

    def source(self) -> ExampleSource:
        """Return the rows, rejected ones last, as a job reads them."""
        rows: tuple[Example | Rejected, ...] = (*self.examples, *self.rejected)
        return ExampleSource(self.name, self.media_root, lambda: iter(rows), self.notes)


def read_posts(
    path: str | Path,
    *,
    format: str | None = None,
    media_root: str | Path | None = None,
    label_map: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    sep: str = "",
    encoding: str = "",
    sheet: str = "",
    limit: int | None = None,
) -> Posts:
    """Read a file of posts, or a data set, into memory.

    Args:
        path: A file (JSONL, CSV, TSV, Parquet and others; `gen-msa ls formats`), also compressed, a
            workbook (.xlsx), or `DATASET:SPLIT`.
        format: The file's format, where its suffix does not tell.
        media_root: Folder that image paths are relative to. Default: the file's own folder.
        label_map: Spelling of a gold label in the file -> `positive`, `neutral` or `negative`.
        columns: Field (`text`, `image`, …) -> name of its column or key in the file.
        sep: The character between the cells of a table. Default: detected.
        encoding: The encoding of the file. Default: detected.
        sheet: The sheet of a workbook. Default: the first.
        limit: Read only the first rows.

    Returns:
        The posts with the opinions that came with them, and the rows that could not be read.

    Raises:
        UserError: There is no such file or data set.
    """
    reading = {"columns": columns, "sep": sep, "encoding": encoding, "sheet": sheet}
    labels = parse_label_map(label_map or {})
    return _load(_open(path, format, media_root, {"label_map": labels, **reading}), limit)


def as_posts(
    posts: PostsLike,
    *,
    aspects: str | Sequence[AspectLike] | None = None,
    text: str = "text",
    image: str | None = None,
    id: str = "id",
    format: str | None = None,
    media_root: str | Path | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Posts:
    """Make posts of anything that holds them.

    A string is the text of one post, unless it ends like a file of posts (`.jsonl`, `.csv`, …). A
    `Path` is always a file. Columns that are not named here are kept in `Post.meta`. An aspect
    without an offset is located in the text, as `gen-msa explain --aspect` does.

    Args:
        posts: A text, a path, `Posts`, or any iterable of texts, posts, examples and rows; a row is
            a mapping with the keys of a JSONL line. A pandas or Polars data frame gives its rows.
        aspects: Aspects for every post, in place of those that it has; or the name of a column
            that lists them.
        text: Column of the text.
        image: Column of the image's path. Default: `image`, and `images` for several.
        id: Column of the id. Rows without one are numbered.
        format: Format of a file, where its suffix does not tell.
        media_root: Folder that image paths are relative to. Default: the file's folder, or the
            current one; absolute paths of images must lie below it.
        reading: Further arguments of `read_posts`, where `posts` is a file.

    Returns:
        The posts in the order given.

    Raises:
        UserError: A named column does not exist, or a row cannot be read.
    """
    if isinstance(posts, Path) or (isinstance(posts, str) and _is_file_name(posts)):
        named = {"text": text, "id": id, "image": image}
        columns = {f: name for f, name in named.items() if name and name != f}
        reading = dict(reading or {})
        reading["columns"] = {**(reading.get("columns") or {}), **columns}
        loaded = _load(_open(posts, format, media_root, reading))
    elif isinstance(posts, Posts):
        loaded = posts if media_root is None else replace(posts, media_root=Path(media_root))
    else:
        columns = {"text": text, "id": id, **({"image": image} if image else {})}
        if isinstance(aspects, str):
            columns["aspects"] = aspects
        reader = _RowReader(columns, Path(media_root or "."))
        loaded = Posts(tuple(reader.read(posts)), Path(media_root or "."))
    if isinstance(aspects, str):
        if isinstance(posts, str | Path | Posts):
            raise UserError(
                f"aspects={aspects!r} names a column, and these posts have no columns",
                hint=f"give a list: aspects=[{aspects!r}]",
            )
        return loaded
    if aspects is None:
        return replace(loaded, examples=tuple(map(locate_missing_offsets, loaded.examples)))
    return replace(loaded, examples=tuple(with_aspects(e, aspects) for e in loaded.examples))


def post_from_text(text: str, images: Sequence[str | Path], aspects: Sequence[str]) -> Posts:
    """Make one post of a text, image files anywhere on disk, and terms to locate.

    Args:
        text: The post's text.
        images: Files; their common folder becomes the media root.
        aspects: Terms, located in the text in order of mention.

    Returns:
        One post with the id `post`.

    Raises:
        UserError: The text is not valid Unicode, or an aspect is listed more often than mentioned.
    """
    absolute = [Path(os.path.abspath(p)) for p in images]  # noqa: PTH100  links stay links
    root = Path(os.path.commonpath([p.parent for p in absolute])) if absolute else Path()
    try:
        media = [Media(kind="image", path=p.relative_to(root).as_posix()) for p in absolute]
        post = Post(id="post", text=text, media=tuple(media), aspects=locate_aspects(text, aspects))
    except ValidationError as e:
        raise UserError(
            f"the post cannot be read: {format_validation_error(e)}",
            hint="have the shell pass UTF-8, or put the post into a file",
        ) from None
    return Posts((Example(post=post),), root, "--text")


def _is_file_name(text: str) -> bool:
    if "\n" in text or len(text) > 4096:
        return False
    suffix = Path(text).suffix
    return bool(suffix) and (suffix in format_by_suffix() or suffix in UNPACKED_SUFFIXES)


def _open(
    path: str | Path,
    format: str | None,
    media_root: str | Path | None,
    reading: Mapping[str, Any],
) -> ExampleSource:
    root = None if media_root is None else Path(media_root)
    return open_examples(str(path), format=format, media_root=root, **reading)


def _load(source: ExampleSource, limit: int | None = None) -> Posts:
    rows = list(islice(source.rows(), limit))
    return Posts(
        tuple(r for r in rows if isinstance(r, Example)),
        source.media_root,
        source.name,
        tuple(r for r in rows if isinstance(r, Rejected)),
        source.notes,
    )


@dataclass(frozen=True)
class _RowReader:
    """Reads rows whose columns have names of the user's own."""

    columns: Mapping[str, str]
    """Key of a JSONL row -> column of the user's."""
    root: Path

    def read(self, posts: Any) -> Iterator[Example]:
        items = _items(posts)
        single = isinstance(posts, str | Post | Example | Mapping)
        for number, item in enumerate(items, 1):
            yield self._example(item, "post" if single else str(number))

    def _example(self, item: Any, default_id: str) -> Example:
        if isinstance(item, Example):
            return item
        if isinstance(item, Post):
            return Example(post=item)
        row = {"text": item} if isinstance(item, str) else self._named(item, default_id)
        try:
            return SimpleRow.model_validate(row).to_example(default_id)
        except ValidationError as e:
            raise UserError(f"row {default_id}: {format_validation_error(e)}") from None

    def _named(self, row: Any, number: str) -> dict[str, Any]:
        """Return the row under the keys of a JSONL line; cells without a value are left out."""
        if not isinstance(row, Mapping):
            raise UserError(
                f"row {number} is a {type(row).__name__}",
                hint="give texts, posts, or rows as mappings with a `text`",
            )
        cells = {str(k): _plain(v) for k, v in row.items() if not _is_missing(v)}
        for key, column in self.columns.items():
            if column in row:
                if column in cells:
                    cells[key] = cells.pop(column)
            elif key == "text" or column != key:
                raise UserError(
                    f"row {number} has no column {column!r}",
                    hint=did_you_mean(column, map(str, row)),
                )
        if isinstance(cells.get("image"), str):
            cells["image"] = self._relative(cells["image"])
        return cells

    def _relative(self, image: str) -> str:
        """Return an absolute path below the media root as a path relative to it."""
        path = Path(image)
        if path.is_absolute() and path.is_relative_to(self.root.absolute()):
            return path.relative_to(self.root.absolute()).as_posix()
        return image


def _items(posts: Any) -> Iterable[Any]:
    if isinstance(posts, str | Post | Example | Mapping):
        return [posts]
    if hasattr(posts, "to_dicts"):  # Polars
        return posts.to_dicts()  # type: ignore[no-any-return]
    if hasattr(posts, "columns") and hasattr(posts, "to_dict"):  # pandas
        return posts.to_dict("records")  # type: ignore[no-any-return]
    if not isinstance(posts, Iterable):
        raise UserError(
            f"posts cannot be read from a {type(posts).__name__}",
            hint="give a text, a path, a data frame, or a list of texts or rows",
        )
    return posts


def _is_missing(value: Any) -> bool:
    """Return whether a cell is empty: None, NaN, or pandas' NA and NaT."""
    return value is None or value is getattr(value, "NaT", ...) or _not_equal_to_itself(value)


def _not_equal_to_itself(value: Any) -> bool:
    if isinstance(value, str | list | tuple | Mapping):
        return False
    try:
        return not bool(value == value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _plain(value: Any) -> Any:
    """Return a cell as JSON has it: NumPy scalars and arrays as Python's, times as ISO text."""
    if hasattr(value, "tolist") and not isinstance(value, str):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value
