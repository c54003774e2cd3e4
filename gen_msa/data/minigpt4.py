"""Rationales of MiniGPT-4 for Twitter-2015/2017, from the release of ArkMSA.

A file is a JSON array at `GEN_MSA_DATA`/NAME/minigpt4_rationales/SPLIT.json. A row has no post id:
it is matched by text, target and image. Its gold label is ignored.

    table = load_rationales(rationale_folder("twitter2015"), ["dev"])
    find_rationale(table, post, post.aspects[0])        # "Sentiment: Neutral. The …" or None
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from gen_msa.data.sources import data_root
from gen_msa.errors import UserError, user_errors
from gen_msa.types import Aspect, Polarity, Post

RationaleKey = tuple[str, str, str]
"""(text with the aspect as `$T$`, target, image name without suffix), whitespace collapsed."""

LABEL_WORD = re.compile(r"\b(positive|negative|neutral)\b", re.IGNORECASE)
"""A label word."""
RATIONALE_PREFIX = re.compile(r"(?:sentiment:\s*\w+\s*[.:]?\s*)?(?:reason:\s*)?", re.IGNORECASE)
"""The usual beginning of a rationale; also matches the empty string."""
_SENTIMENT_LINE = re.compile(r"\bsentiment:([^.\n]*)", re.IGNORECASE)
_TRANSLATION_MARKER = "\n\n\ubc88\uc5ed"


class _RationaleRow(BaseModel):
    text: str
    target: str
    ImageID: str
    reason: str


def rationale_folder(name: str) -> Path:
    """Return the folder of the rationales of a data set.

    Raises:
        UserError: `name` is not a folder name.
    """
    if not re.fullmatch(r"\w+", name):
        raise UserError(
            f"minigpt4 needs a folder of a data set, not {name!r}",
            hint="minigpt4:twitter2015",
        )
    return data_root() / name / "minigpt4_rationales"


def load_rationales(folder: Path, splits: Iterable[str]) -> dict[RationaleKey, str]:
    """Load the rationales of the splits that the folder has.

    Args:
        folder: The folder of the rationales.
        splits: Names of splits; one without a file is skipped.

    Returns:
        Rationale by text, target and image name (without suffix). Whitespace of text and target is
        collapsed; of rows with equal keys the last one counts.

    Raises:
        UserError: A file cannot be parsed.
    """
    table: dict[RationaleKey, str] = {}
    for path in (folder / f"{split}.json" for split in splits):
        if not path.is_file():
            continue
        with user_errors(path, "has no valid rationales", hint="download the file again"):
            rows = TypeAdapter(list[_RationaleRow]).validate_json(path.read_bytes())
        for row in rows:
            table[
                _collapse_whitespace(row.text),
                _collapse_whitespace(row.target),
                Path(row.ImageID).stem,
            ] = row.reason
    return table


def find_rationale(table: Mapping[RationaleKey, str], post: Post, aspect: Aspect) -> str | None:
    """Return the rationale about one aspect of a post; None without one, or without an offset.

    Args:
        table: The result of `load_rationales`.
        post: The post.
        aspect: The aspect.
    """
    if aspect.start is None:
        return None
    text = _collapse_whitespace(f"{post.text[: aspect.start]}$T${post.text[aspect.end :]}")
    keys = ((text, _collapse_whitespace(aspect.term), Path(m.path).stem) for m in post.media)
    return next((table[k] for k in keys if k in table), None)


def strip_translation(text: str) -> str:
    """Return a rationale without the Korean translation that some have at their end."""
    return text.partition(_TRANSLATION_MARKER)[0]


def stated_label(text: str) -> Polarity | None:
    """Return the only label that a rationale states; None for none and for two.

    The text after `Sentiment:` decides, because the following sentences mention other labels too
    ("no positive or negative words"). Without such a line, the rationale may name only one label.
    """
    original = strip_translation(text)
    labels = {
        m.lower() for line in _SENTIMENT_LINE.findall(original) for m in LABEL_WORD.findall(line)
    }
    labels = labels or {m.lower() for m in LABEL_WORD.findall(original)}
    return Polarity(labels.pop()) if len(labels) == 1 else None


def _collapse_whitespace(text: str) -> str:
    return " ".join(text.split())
