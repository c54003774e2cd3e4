"""Reasons that MiniGPT-4 gave for Twitter-2015/2017 (ArkMSA's release), the few that can be used.

That teacher is noisy. One or two short sentences are taken when the sentiment it says is the label,
and they name the aspect, speak of the words and not of a picture, and share words with the post,
which are put in double quotes. `counts` says what became of the others. The target is a folder
below `GEN_MSA_DATA`. Rows are joined by text, target and picture. Knows nothing of prompts.

    find("minigpt4:twitter2017,cue").reasoned(examples, "gold")
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gen_msa.data.minigpt4 import LEAD, SAID, Key, folder_of, rationale, rationales, untranslated
from gen_msa.errors import UserError
from gen_msa.finetuning.reasons._quoting import WELL_CUT, quoted
from gen_msa.finetuning.reasons.base import reasons
from gen_msa.types import Example, Opinion, Polarity, Post

SPLITS = ("train", "dev")
"""A test split is never read."""
MOST_WORDS = 40

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
            self._table = rationales(self._folder, SPLITS)
        if not self._table:
            raise UserError(
                f"{self._folder} holds no train.json", mend="write minigpt4:FOLDER, as twitter2015"
            )
        return [tuple(self._of(e.post, o, self._table) for o in e.opinions) for e in examples]

    def _of(self, post: Post, opinion: Opinion, table: dict[Key, str]) -> str | None:
        said = rationale(table, post, opinion.aspect)
        reason, why = ("", "no row") if said is None else judge(said, post.text, opinion)
        self.counts[why or "accepted"] += 1
        return reason or None


def judge(said: str, text: str, opinion: Opinion) -> tuple[str, str]:
    """The usable part of what the teacher said, or "" and why there is none."""
    term, gold = opinion.aspect.term, str(opinion.polarity)
    first = SAID.search(said)
    if first is None or first[0].lower() != gold:
        return "", "says another sentiment"
    body = untranslated(said)
    sentences = _SENTENCE.split(" ".join(LEAD.sub("", body, count=1).split()))
    own = [s for s in sentences if s and not _BOILERPLATE.search(s)]
    if not own:
        return "", "boilerplate"
    told = [s for s in own if not _PICTURE.search(s)]
    if not told:
        return "", "speaks of the picture"
    agreed = [s for s in told if {m.lower() for m in SAID.findall(s)} <= {gold}]
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


@reasons.register
def make(target: str) -> MiniGpt4:
    """The source of the folder `target` below `GEN_MSA_DATA`. Raises `UserError` without one."""
    return MiniGpt4(folder_of(target))
