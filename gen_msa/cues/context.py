"""The context cue: the image in words, for models that cannot see it.

Captions, descriptions, facial expressions, and text in the image (OCR). There are three kinds of
files, distinguished by their content:

* a mapping `image or post id -> text`;
* a list of a teacher's rationales with `text` (`$T$` in place of the aspect), `target`, `ImageID`
  and `description`. Only the description is used, never the `reason` or a label: a cue must not
  contain the answer;
* a `.jsonl` of one annotator's opinions, as `annotate` writes it: the explanation of each aspect.

    ContextOptions(files=["captions.json", {"path": "faces.json", "prefix": "faces"}])

Without files, texts come from `Post.meta["caption"]`. A post without context gets an empty cue.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from gen_msa import jsonl
from gen_msa.cues import base
from gen_msa.cues.base import (
    ImageTable,
    content_text,
    cue_sources,
    digest,
    image_stem,
    load_image,
    post_images,
)
from gen_msa.errors import MissingExtra, UserError, user_errors
from gen_msa.media import ImageError
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Example, Post, Rejected

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_CONFIDENCE = 0.5
"""Lines with a lower recognition confidence are mostly noise."""


def load_ocr() -> Callable[["Image"], str]:
    """Return a function that reads the text in an RGB image.

    Raises:
        MissingExtra: rapidocr is not installed.
    """
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


ExplanationTable = dict[tuple[str, Aspect], str]


def load_explanations(path: Path) -> ExplanationTable:
    """Load the explanations of a file of opinions, by post id and aspect.

    Raises:
        UserError: The file cannot be read, has an invalid line, or has more than one annotator
            besides gold.
    """
    explanations: ExplanationTable = {}
    annotators: set[str] = set()
    with user_errors(path, hint="check the path"):
        for row in jsonl.read(path, Example):
            if isinstance(row, Rejected):
                raise UserError(f"{path}, line {row.line}: {row.reason}", hint=row.hint)
            for opinion in row.opinions:
                if opinion.annotator != "gold":
                    annotators.add(opinion.annotator)
                    explanations[row.post.id, opinion.aspect] = (opinion.explanation or "").strip()
    if len(annotators) > 1:
        names = ", ".join(sorted(annotators))
        raise UserError(f"{path} has opinions by {names}", hint="use a file with one annotator")
    return explanations


OcrFunction = Callable[["Image"], str]
"""Returns the text in an RGB image; `""` if there is none."""

TextLookup = Callable[[Post, Aspect], str]


class ContextFile(Settings):
    """A file, and the prefix of each of its texts; "" for none."""

    path: Path
    """`$NAME` and `~` are expanded: `$GEN_MSA_DATA/twitter2015/captions/train.json`."""
    prefix: str = "picture"
    pattern: str = ""
    """A regular expression: only its matches in each text are used, joined by `. `."""

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
    """The sources of the text, joined in this order: files, meta, OCR."""

    files: tuple[ContextFile | Path, ...] = ()
    meta: tuple[str, ...] = ("caption",)
    """Keys of `Post.meta` with a text; the key is its prefix."""
    ocr: bool = False
    """Read the text in images with rapidocr (extra `ocr`)."""
    media_root: Path = Path()
    """The folder that `Media.path` is relative to, for OCR."""
    max_words: int = Field(default=120, ge=1)


@cue_sources.register
class ContextCues:
    """Fills the slot `context`."""

    Options: ClassVar[type[Settings]] = ContextOptions
    slot = "context"

    def __init__(self, options: ContextOptions, ocr: OcrFunction | None = None) -> None:
        """Store the options.

        Args:
            options: The options.
            ocr: Replaces rapidocr if `options.ocr` is set.
        """
        self._options = options
        self._files = [
            f if isinstance(f, ContextFile) else ContextFile(path=f) for f in options.files
        ]
        self._ocr = ocr
        self._lookups: list[tuple[str, str, TextLookup]] | None = None

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """Return one cue for each aspect of each post.

        Raises:
            UserError: A file cannot be read.
        """
        if self._lookups is None:
            self._lookups = [
                (f"file:{f.path.name}", f.prefix, _build_lookup(f)) for f in self._files
            ]
        return [self._post_cues(p, self._lookups) for p in posts]

    def fingerprint(self) -> str:
        """Return a hash of the options and the content of the files."""
        others = self._options.model_copy(update={"files": ()})
        return digest("context 2", content_text(others), content_text(self._files))

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
                texts.append((f"ocr: image {e.kind}", "", ""))
            else:
                texts.append(("ocr", "written in the picture", self._ocr(image)))
        return texts

    def _cue(self, texts: list[tuple[str, str, str]]) -> Cue:
        """Join the nonempty texts, each after its prefix, and the names of their sources."""
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
    value = base.load_json(file.path)
    if isinstance(value, list):
        return _rationale_lookup(file.path, value)
    table = ImageTable(base.check_string_map(file.path, value))
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
                f"{path}: entry {i} is not a rationale", hint=f"it needs {required}"
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
