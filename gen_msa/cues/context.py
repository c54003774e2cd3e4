"""The context cue: what is known of the picture in words, where it cannot be seen itself.

Captions, descriptions, descriptions of faces, and the writing in the picture (OCR). Knows nothing
of prompts, or of which reader is asked. A file is one of three kinds, told apart by what it is:

* a map `picture or post id -> text`;
* a list of a teacher's rationales with `text` (`$T$` where the aspect stood), `target`, `ImageID`
  and `description`. Nothing else is read of it, least of all its `reason` or a label: a cue that
  knew the answer would be no cue;
* a `.jsonl` of one reader's opinions, as `annotate` writes it: the explanation of each aspect.

    ContextOptions(files=["captions.json", {"path": "faces.json", "lead": "faces"}])

Without files, texts come from `Post.meta["caption"]`. A post without context gets an empty cue.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from gen_msa.cues import _files, _opinions
from gen_msa.cues._digest import digest, digest_file
from gen_msa.cues._pictures import ByPicture, images, look, stem
from gen_msa.cues.base import cues
from gen_msa.errors import UserError
from gen_msa.media import PictureProblem
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Post

if TYPE_CHECKING:
    from PIL.Image import Image

Scan = Callable[["Image"], str]
"""The writing in an RGB picture; `""` when there is none."""

Texts = Callable[[Post, Aspect], str]


class ContextFile(Settings):
    """One file, and the word that stands before each of its texts; "" for none."""

    path: Path
    """`$NAME` and `~` in it are filled in: `$GEN_MSA_DATA/twitter2015/captions/train.json`."""
    lead: str = "picture"
    only: str = ""
    """A regular expression: of each text only what it matches is taken, joined by `. `."""

    @field_validator("path")
    @classmethod
    def _filled_in(cls, path: Path) -> Path:
        return Path(os.path.expandvars(path)).expanduser()

    @field_validator("only")
    @classmethod
    def _is_an_expression(cls, only: str) -> str:
        try:
            re.compile(only)
        except re.error as e:
            raise ValueError(f"{only!r} is not a regular expression: {e}") from None
        return only


class ContextOptions(Settings):
    """Where the words come from. Several sources are joined in this order: files, meta, OCR."""

    files: tuple[ContextFile | Path, ...] = ()
    meta: tuple[str, ...] = ("caption",)
    """Keys of `Post.meta` that hold a text; the key stands before it."""
    ocr: bool = False
    """Read the writing in the picture with rapidocr (extra `ocr`)."""
    media_root: Path = Path()
    """Where OCR finds `Media.path`."""
    max_words: int = Field(default=120, ge=1)


@cues.register
class Context:
    """Fills the slot `context`."""

    Options: ClassVar[type[Settings]] = ContextOptions
    slot = "context"

    def __init__(self, options: ContextOptions, scan: Scan | None = None) -> None:
        """`scan` stands in for rapidocr when `options.ocr` is set."""
        self._options = options
        self._files = [
            f if isinstance(f, ContextFile) else ContextFile(path=f) for f in options.files
        ]
        self._scan = scan
        self._tables: list[tuple[str, str, Texts]] | None = None

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """One cue an aspect. Raises `UserError` for a file that cannot be read."""
        if self._tables is None:
            self._tables = [(f"file:{f.path.name}", f.lead, _texts(f)) for f in self._files]
        return [self._of(p, self._tables) for p in posts]

    def fingerprint(self) -> str:
        """Of the options and the files' bytes."""
        files = [digest_file(f.path) for f in self._files]
        return digest("context 1", self._options.model_dump_json(), *files)

    def _of(self, post: Post, tables: list[tuple[str, str, Texts]]) -> tuple[Cue, ...]:
        if not post.aspects:
            return ()
        shared = [(f"meta:{k}", k, _text(post.meta.get(k))) for k in self._options.meta]
        if self._options.ocr:
            shared += self._written(post)
        return tuple(
            self._cue([*((name, lead, of(post, a)) for name, lead, of in tables), *shared])
            for a in post.aspects
        )

    def _written(self, post: Post) -> list[tuple[str, str, str]]:
        if self._scan is None:
            from gen_msa.cues._ocr import scanner

            self._scan = scanner()
        found = []
        for medium in images(post):
            try:
                picture = look(medium, self._options.media_root)
            except PictureProblem as e:
                found.append((f"ocr: picture {e.kind}", "", ""))
            else:
                found.append(("ocr", "written in the picture", self._scan(picture)))
        return found

    def _cue(self, found: list[tuple[str, str, str]]) -> Cue:
        """The texts that are there, each after its lead word, and the names of their sources."""
        said = [(name, lead, text) for name, lead, text in found if text]
        if not said:
            looked = "+".join(name for name, _, _ in found) or "none"
            return Cue(text="", source=f"{looked}: no entry")
        text = " ".join(f"{lead}: {text}" if lead else text for _, lead, text in said)
        words = text.split()
        cut = " ..." if len(words) > self._options.max_words else ""
        source = "+".join(name for name, _, _ in said)
        return Cue(text=" ".join(words[: self._options.max_words]) + cut, source=source)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _texts(file: ContextFile) -> Texts:
    find = _found(file)
    if not file.only:
        return find
    return lambda post, aspect: ". ".join(m[0] for m in re.finditer(file.only, find(post, aspect)))


def _found(file: ContextFile) -> Texts:
    if file.path.suffix == ".jsonl":
        said = _opinions.table(file.path)
        return lambda post, aspect: said.get((post.id, aspect), "")
    value = _files.load(file.path)
    if isinstance(value, list):
        return _rationales(file.path, value)
    table = ByPicture(_files.strings(file.path, value))
    return lambda post, aspect: _text(table.find(post))


def _rationales(path: Path, rows: list[Any]) -> Texts:
    table: dict[tuple[str, str, str], str] = {}
    for i, row in enumerate(rows):
        try:
            key = (_plain(row["text"]), _plain(row["target"]), stem(str(row["ImageID"])))
            table[key] = _text(row["description"])
        except (KeyError, TypeError, AttributeError):
            need = "text, target, ImageID and description"
            raise UserError(f"{path}: entry {i} is no rationale", mend=f"give it {need}") from None

    def find(post: Post, aspect: Aspect) -> str:
        if aspect.start is None:
            return ""
        end = aspect.start + len(aspect.term)
        text = _plain(f"{post.text[: aspect.start]}$T${post.text[end:]}")
        keys = ((text, _plain(aspect.term), stem(m.path)) for m in images(post))
        return next((table[k] for k in keys if k in table), "")

    return find


def _plain(text: str) -> str:
    return " ".join(text.split())
