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

from gen_msa import jsonl
from gen_msa.cues import _inputs
from gen_msa.cues._inputs import (
    ImageTable,
    digest,
    digest_file,
    image_stem,
    load_image,
    post_images,
)
from gen_msa.cues.base import cue_sources
from gen_msa.errors import MissingExtra, UserError
from gen_msa.media import ImageError
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Example, Post, Rejected

# The writing in a picture, by rapidocr, loaded on first use.

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_CONFIDENCE = 0.5
"""Lines the recogniser is less sure of are noise more often than writing."""


def load_ocr() -> Callable[["Image"], str]:
    """A function from an RGB picture to its writing. Raises `MissingExtra`."""
    try:
        import numpy as np
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        raise MissingExtra("rapidocr-onnxruntime", "ocr") from None
    engine = RapidOCR()

    def read_text(image: "Image") -> str:
        lines, _ = engine(np.asarray(image)[:, :, ::-1])  # rapidocr takes BGR
        return " ".join(text for _, text, score in lines or () if float(score) >= MIN_CONFIDENCE)

    return read_text


# What a reader wrote of posts, from a file of opinions: contexts that `gen-msa annotate` made.

ExplanationTable = dict[tuple[str, Aspect], str]


def load_explanations(path: Path) -> ExplanationTable:
    """(post id, aspect) -> explanation.

    Raises `UserError` for a file that cannot be read, holds a line that is no example, or has more
    than one reader besides gold.
    """
    explanations: ExplanationTable = {}
    annotators: set[str] = set()
    try:
        for row in jsonl.read(path, Example):
            if isinstance(row, Rejected):
                raise UserError(f"{path}, line {row.line}: {row.reason}", hint=row.hint)
            for opinion in row.opinions:
                if opinion.annotator != "gold":
                    annotators.add(opinion.annotator)
                    explanations[row.post.id, opinion.aspect] = (opinion.explanation or "").strip()
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e}", hint="check the path") from None
    if len(annotators) > 1:
        names = ", ".join(sorted(annotators))
        raise UserError(f"{path} holds opinions by {names}", hint="keep one reader's in a file")
    return explanations


if TYPE_CHECKING:
    from PIL.Image import Image

OcrFunction = Callable[["Image"], str]
"""The writing in an RGB picture; `""` when there is none."""

TextLookup = Callable[[Post, Aspect], str]


class ContextFile(Settings):
    """One file, and the word that stands before each of its texts; "" for none."""

    path: Path
    """`$NAME` and `~` in it are filled in: `$GEN_MSA_DATA/twitter2015/captions/train.json`."""
    prefix: str = "picture"
    pattern: str = ""
    """A regular expression: of each text only what it matches is taken, joined by `. `."""

    @field_validator("path")
    @classmethod
    def _expand_path(cls, path: Path) -> Path:
        return Path(os.path.expandvars(path)).expanduser()

    @field_validator("pattern")
    @classmethod
    def _check_regex(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as e:
            raise ValueError(f"{pattern!r} is not a regular expression: {e}") from None
        return pattern


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


@cue_sources.register
class ContextCues:
    """Fills the slot `context`."""

    Options: ClassVar[type[Settings]] = ContextOptions
    slot = "context"

    def __init__(self, options: ContextOptions, ocr: OcrFunction | None = None) -> None:
        """`scan` stands in for rapidocr when `options.ocr` is set."""
        self._options = options
        self._files = [
            f if isinstance(f, ContextFile) else ContextFile(path=f) for f in options.files
        ]
        self._ocr = ocr
        self._lookups: list[tuple[str, str, TextLookup]] | None = None

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """One cue an aspect. Raises `UserError` for a file that cannot be read."""
        if self._lookups is None:
            self._lookups = [
                (f"file:{f.path.name}", f.prefix, _build_lookup(f)) for f in self._files
            ]
        return [self._post_cues(p, self._lookups) for p in posts]

    def fingerprint(self) -> str:
        """Of the options and the files' bytes."""
        files = [digest_file(f.path) for f in self._files]
        return digest("context 1", self._options.model_dump_json(), *files)

    def _post_cues(self, post: Post, lookups: list[tuple[str, str, TextLookup]]) -> tuple[Cue, ...]:
        if not post.aspects:
            return ()
        shared = [(f"meta:{k}", k, _stripped(post.meta.get(k))) for k in self._options.meta]
        if self._options.ocr:
            shared += self._ocr_texts(post)
        return tuple(
            self._cue(
                [*((name, prefix, lookup(post, a)) for name, prefix, lookup in lookups), *shared]
            )
            for a in post.aspects
        )

    def _ocr_texts(self, post: Post) -> list[tuple[str, str, str]]:
        if self._ocr is None:
            self._ocr = load_ocr()
        texts = []
        for media_item in post_images(post):
            try:
                image = load_image(media_item, self._options.media_root)
            except ImageError as e:
                texts.append((f"ocr: picture {e.kind}", "", ""))
            else:
                texts.append(("ocr", "written in the picture", self._ocr(image)))
        return texts

    def _cue(self, texts: list[tuple[str, str, str]]) -> Cue:
        """The texts that are there, each after its lead word, and the names of their sources."""
        present = [(name, prefix, text) for name, prefix, text in texts if text]
        if not present:
            source_names = "+".join(name for name, _, _ in texts) or "none"
            return Cue(text="", source=f"{source_names}: no entry")
        text = " ".join(f"{prefix}: {text}" if prefix else text for _, prefix, text in present)
        words = text.split()
        cut = " ..." if len(words) > self._options.max_words else ""
        source = "+".join(name for name, _, _ in present)
        return Cue(text=" ".join(words[: self._options.max_words]) + cut, source=source)


def _stripped(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _build_lookup(file: ContextFile) -> TextLookup:
    lookup = _load_lookup(file)
    if not file.pattern:
        return lookup
    return lambda post, aspect: ". ".join(
        m[0] for m in re.finditer(file.pattern, lookup(post, aspect))
    )


def _load_lookup(file: ContextFile) -> TextLookup:
    if file.path.suffix == ".jsonl":
        explanations = load_explanations(file.path)
        return lambda post, aspect: explanations.get((post.id, aspect), "")
    value = _inputs.load_json(file.path)
    if isinstance(value, list):
        return _rationale_lookup(file.path, value)
    table = ImageTable(_inputs.check_string_map(file.path, value))
    return lambda post, aspect: _stripped(table.find(post))


def _rationale_lookup(path: Path, rows: list[Any]) -> TextLookup:
    table: dict[tuple[str, str, str], str] = {}
    for i, row in enumerate(rows):
        try:
            key = (
                _collapse_whitespace(row["text"]),
                _collapse_whitespace(row["target"]),
                image_stem(str(row["ImageID"])),
            )
            table[key] = _stripped(row["description"])
        except (KeyError, TypeError, AttributeError):
            required = "text, target, ImageID and description"
            raise UserError(
                f"{path}: entry {i} is no rationale", hint=f"give it {required}"
            ) from None

    def find(post: Post, aspect: Aspect) -> str:
        if aspect.start is None:
            return ""
        end = aspect.start + len(aspect.term)
        text = _collapse_whitespace(f"{post.text[: aspect.start]}$T${post.text[end:]}")
        keys = (
            (text, _collapse_whitespace(aspect.term), image_stem(m.path)) for m in post_images(post)
        )
        return next((table[k] for k in keys if k in table), "")

    return find


def _collapse_whitespace(text: str) -> str:
    return " ".join(text.split())
