"""Reasons that MiniGPT-4 gave for Twitter-2015/2017 (ArkMSA's release), the few that can be used.

That teacher is noisy. One or two short sentences are taken when the sentiment it says is the label,
and they name the aspect, speak of the words and not of a picture, and share words with the post,
which are put in double quotes. `counts` says what became of the others. The target is a folder
below `GEN_MSA_DATA`. Rows are joined by text, target and picture. Knows nothing of prompts.

    find("minigpt4:twitter2017,cue").reasoned(examples, "gold")
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from gen_msa.data import data_root
from gen_msa.errors import UserError
from gen_msa.finetuning.reasons import reasons
from gen_msa.finetuning.reasons._quoting import WELL_CUT, quoted
from gen_msa.types import Example, Opinion, Polarity, Post

SPLITS = ("train", "dev")
"""A test split is never read."""
MOST_WORDS = 40

_SAID = re.compile(r"\b(positive|negative|neutral)\b", re.IGNORECASE)
_LEAD = re.compile(r"(?:sentiment:\s*\w+\s*[.:]?\s*)?(?:reason:\s*)?", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"])")
_BOILERPLATE = re.compile(
    r"important to note|worth noting|as an ai|transcript|\bI'm\b|provided|more context"
    r"|description|caption|\b(?:this|which) (?:suggests|implies|indicates) that",
    re.IGNORECASE,
)
_PICTURE = re.compile(
    r"\b(?:image|images|graph|video|screen|expressions?|picture|pictures|photo|photos|photograph|depict\w*|wear\w*|dressed|pose[sd]?"
    r"|posing|background|visible|camera|expression on|smil\w+|visual\w*|shown|seen|appears?)\b",
    re.IGNORECASE,
)

Key = tuple[str, str, str]


class _Row(BaseModel):
    text: str
    target: str
    ImageID: str
    reason: str


class MiniGpt4:
    """Explains labels with what the teacher wrote."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table: dict[Key, str] | None = None
        self.counts: Counter[str] = Counter()
        """`accepted`, and for each cause of refusal how many."""

    def reasons(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """For each example, and each of its opinions, a reason or None.

        Raises `UserError` when the folder holds no rationales that can be read.
        """
        if self._table is None:
            self._table = dict(_read(self._folder))
        return [tuple(self._of(e.post, o, self._table) for o in e.opinions) for e in examples]

    def _of(self, post: Post, opinion: Opinion, table: dict[Key, str]) -> str | None:
        said = next((table[k] for k in _keys(post, opinion) if k in table), None)
        reason, why = ("", "no row") if said is None else judge(said, post.text, opinion)
        self.counts[why or "accepted"] += 1
        return reason or None


def judge(said: str, text: str, opinion: Opinion) -> tuple[str, str]:
    """The usable part of what the teacher said, or "" and why there is none."""
    term, gold = opinion.aspect.term, str(opinion.polarity)
    first = _SAID.search(said)
    if first is None or first[0].lower() != gold:
        return "", "says another sentiment"
    body = said.partition("\n\n\ubc88\uc5ed")[0]  # a translation into Korean follows
    sentences = _SENTENCE.split(" ".join(_LEAD.sub("", body, count=1).split()))
    own = [s for s in sentences if s and not _BOILERPLATE.search(s)]
    if not own:
        return "", "boilerplate"
    told = [s for s in own if not _PICTURE.search(s)]
    if not told:
        return "", "speaks of the picture"
    agreed = [s for s in told if {m.lower() for m in _SAID.findall(s)} <= {gold}]
    if not agreed:
        return "", "contradicts itself"
    marked = [
        m for s in agreed if (m := quoted(s, text, term, opinion.polarity or Polarity.NEUTRAL))
    ]
    if not marked:
        return "", "quotes nothing of the post"
    naming = [m for m in (*marked, " ".join(marked[:2])) if term in m]
    if not term or not naming:
        return "", "does not name the aspect"
    short = [m for m in naming if len(m.split()) <= MOST_WORDS and WELL_CUT.search(m)]
    return (short[0], "") if short else ("", "too long, or cut off")


def _keys(post: Post, opinion: Opinion) -> Iterator[Key]:
    aspect = opinion.aspect
    if aspect.start is None:
        return
    text = _plain(f"{post.text[: aspect.start]}$T${post.text[aspect.end :]}")
    for m in post.media:
        yield text, _plain(aspect.term), Path(m.path).stem


def _read(folder: Path) -> Iterator[tuple[Key, str]]:
    files = [p for s in SPLITS if (p := folder / f"{s}.json").is_file()]
    if not files:
        raise UserError(
            f"{folder} holds no train.json", mend="write minigpt4:FOLDER, as twitter2015"
        )
    for path in files:
        try:
            rows = TypeAdapter(list[_Row]).validate_json(path.read_bytes())
        except (OSError, ValidationError) as e:
            raise UserError(f"{path} holds no rationales: {str(e)[:200]}") from None
        for row in rows:
            yield (_plain(row.text), _plain(row.target), Path(row.ImageID).stem), row.reason


def _plain(text: str) -> str:
    return " ".join(text.split())


@reasons.register
def make(target: str) -> MiniGpt4:
    """The source of the folder `target` below `GEN_MSA_DATA`. Raises `UserError` without one."""
    if not re.fullmatch(r"\w+", target):
        raise UserError(f"minigpt4 needs a folder, not {target!r}", mend="minigpt4:twitter2015")
    return MiniGpt4(data_root() / target / "minigpt4_rationales")
