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

from gen_msa.data.minigpt4 import RATIONALE_PREFIX, LABEL_WORD, RationaleKey, rationale_folder, find_rationale, load_rationales, strip_translation
from gen_msa.errors import UserError
from gen_msa.finetuning.reasons._quoting import SENTENCE_END, quote_shared_words
from gen_msa.finetuning.reasons.base import rationale_sources
from gen_msa.types import Example, Opinion, Polarity, Post

SPLITS = ("train", "dev")
"""A test split is never read."""
MAX_RATIONALE_WORDS = 40

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"])")
_BOILERPLATE = re.compile(
    r"important to note|worth noting|as an ai|transcript|\bI'm\b|provided|more context"
    r"|description|caption|\b(?:this|which) (?:suggests|implies|indicates) that",
    re.IGNORECASE,
)
_IMAGE_WORDS = re.compile(
    r"\b(?:image|images|graph|video|screen|expressions?|picture|pictures|photo|photos|photograph|depict\w*|wear\w*|dressed|pose[sd]?"
    r"|posing|background|visible|camera|expression on|smil\w+|visual\w*|shown|seen|appears?)\b",
    re.IGNORECASE,
)


class MiniGpt4Rationales:
    """Explains labels with what the teacher wrote."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table: dict[RationaleKey, str] | None = None
        self.counts: Counter[str] = Counter()
        """`accepted`, and for each cause of refusal how many."""

    def rationales(self, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
        """For each example, and each of its opinions, a reason or None.

        Raises `UserError` when the folder holds no rationales that can be read.
        """
        if self._table is None:
            self._table = load_rationales(self._folder, SPLITS)
        if not self._table:
            raise UserError(
                f"{self._folder} holds no train.json", hint="write minigpt4:FOLDER, as twitter2015"
            )
        return [tuple(self._rationale_for(e.post, o, self._table) for o in e.opinions) for e in examples]

    def _rationale_for(self, post: Post, opinion: Opinion, table: dict[RationaleKey, str]) -> str | None:
        response = find_rationale(table, post, opinion.aspect)
        usable, rejection = ("", "no row") if response is None else usable_part(response, post.text, opinion)
        self.counts[rejection or "accepted"] += 1
        return usable or None


def usable_part(response: str, text: str, opinion: Opinion) -> tuple[str, str]:
    """The usable part of what the teacher said, or "" and why there is none."""
    term, gold = opinion.aspect.term, str(opinion.polarity)
    first = LABEL_WORD.search(response)
    if first is None or first[0].lower() != gold:
        return "", "says another sentiment"
    body = strip_translation(response)
    sentences = _SENTENCE.split(" ".join(RATIONALE_PREFIX.sub("", body, count=1).split()))
    content_sentences = [s for s in sentences if s and not _BOILERPLATE.search(s)]
    if not content_sentences:
        return "", "boilerplate"
    text_sentences = [s for s in content_sentences if not _IMAGE_WORDS.search(s)]
    if not text_sentences:
        return "", "speaks of the picture"
    consistent = [s for s in text_sentences if {m.lower() for m in LABEL_WORD.findall(s)} <= {gold}]
    if not consistent:
        return "", "contradicts itself"
    quoted_sentences = [
        m for s in consistent if (m := quote_shared_words(s, text, term, opinion.polarity or Polarity.NEUTRAL))
    ]
    if not quoted_sentences:
        return "", "quotes nothing of the post"
    naming_aspect = [m for m in (*quoted_sentences, " ".join(quoted_sentences[:2])) if term in m]
    if not term or not naming_aspect:
        return "", "does not name the aspect"
    short = [m for m in naming_aspect if len(m.split()) <= MAX_RATIONALE_WORDS and SENTENCE_END.search(m)]
    return (short[0], "") if short else ("", "too long, or cut off")


@rationale_sources.register
def create_source(target: str) -> MiniGpt4Rationales:
    """The source of the folder `target` below `GEN_MSA_DATA`. Raises `UserError` without one."""
    return MiniGpt4Rationales(rationale_folder(target))
