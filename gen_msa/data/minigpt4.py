"""The rationales that MiniGPT-4 gave for Twitter-2015/2017 (ArkMSA's release), read and joined.

A file is a JSON array below `GEN_MSA_DATA`/NAME/minigpt4_rationales/SPLIT.json. A row has no post
id: rows are joined by text, target and picture. Its gold label is not read. Knows nothing of what
a rationale is used for.

    table = rationales(folder_of("twitter2015"), ["dev"])
    said = rationale(table, post, post.aspects[0])        # "Sentiment: Neutral. The …" or None
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from gen_msa.data.sources import data_root
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Polarity, Post

RationaleKey = tuple[str, str, str]
"""(text with the aspect as `$T$`, target, picture's name without suffix), blanks made one."""

LABEL_WORD = re.compile(r"\b(positive|negative|neutral)\b", re.IGNORECASE)
"""A label's word."""
RATIONALE_PREFIX = re.compile(r"(?:sentiment:\s*\w+\s*[.:]?\s*)?(?:reason:\s*)?", re.IGNORECASE)
"""How most rationales begin; matches the empty string too."""
_SENTIMENT_LINE = re.compile(r"\bsentiment:([^.\n]*)", re.IGNORECASE)
_TRANSLATION_MARKER = "\n\n\ubc88\uc5ed"


class _RationaleRow(BaseModel):
    text: str
    target: str
    ImageID: str
    reason: str


def rationale_folder(name: str) -> Path:
    """Where the rationales of a corpus lie. Raises `UserError` for what names no folder."""
    if not re.fullmatch(r"\w+", name):
        raise UserError(f"minigpt4 needs a folder, not {name!r}", hint="minigpt4:twitter2015")
    return data_root() / name / "minigpt4_rationales"


def load_rationales(folder: Path, splits: Iterable[str]) -> dict[RationaleKey, str]:
    """Every rationale of the splits that the folder holds; empty when it holds none of them.

    Raises `UserError` for a file that cannot be read.
    """
    table: dict[RationaleKey, str] = {}
    for path in (folder / f"{split}.json" for split in splits):
        if not path.is_file():
            continue
        try:
            rows = TypeAdapter(list[_RationaleRow]).validate_json(path.read_bytes())
        except (OSError, ValidationError) as e:
            raise UserError(f"{path} holds no rationales: {str(e)[:200]}") from None
        for row in rows:
            table[
                _collapse_whitespace(row.text),
                _collapse_whitespace(row.target),
                Path(row.ImageID).stem,
            ] = row.reason
    return table


def find_rationale(table: Mapping[RationaleKey, str], post: Post, aspect: Aspect) -> str | None:
    """What is recorded about one aspect of a post; None for nothing, and for one with no place."""
    if aspect.start is None:
        return None
    text = _collapse_whitespace(f"{post.text[: aspect.start]}$T${post.text[aspect.end :]}")
    keys = ((text, _collapse_whitespace(aspect.term), Path(m.path).stem) for m in post.media)
    return next((table[k] for k in keys if k in table), None)


def strip_translation(text: str) -> str:
    """A rationale without the translation into Korean that follows some."""
    return text.partition(_TRANSLATION_MARKER)[0]


def stated_label(text: str) -> Polarity | None:
    """The one label that a rationale says; None for none and for two.

    What stands after `Sentiment:` decides: the sentences below it speak of other labels too ("no
    positive or negative words"). Without such a line, the rationale may name one label only.
    """
    original = strip_translation(text)
    labels = {
        m.lower() for line in _SENTIMENT_LINE.findall(original) for m in LABEL_WORD.findall(line)
    }
    labels = labels or {m.lower() for m in LABEL_WORD.findall(original)}
    return Polarity(labels.pop()) if len(labels) == 1 else None


def _collapse_whitespace(text: str) -> str:
    return " ".join(text.split())
