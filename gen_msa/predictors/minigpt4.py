"""Recorded answers of MiniGPT-4 for Twitter-2015 and Twitter-2017.

`minigpt4:twitter2015:dev` reads the rationales of one split (`GEN_MSA_DATA`). The label is what
follows `Sentiment:`, or the only label that the rationale names; with none or two the answer is
`unparsed`. The gold label is never used. The explanation is the rationale without that line and
without the translation that follows some; `raw` has all of it. An aspect without a rationale is
`empty`. Nothing is tuned, so a test split may be used.

    gen-msa explain twitter2015:dev --model minigpt4:twitter2015:dev
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa import manifest
from gen_msa.data.minigpt4 import (
    RATIONALE_PREFIX,
    RationaleKey,
    find_rationale,
    load_rationales,
    rationale_folder,
    stated_label,
    strip_translation,
)
from gen_msa.errors import UserError
from gen_msa.predictors.base import (
    Prediction,
    Predictor,
    PredictorSettings,
    RequestPreview,
    predictors,
)
from gen_msa.types import OVERALL_ASPECT, Aspect, Opinion, Post, Status


class MiniGpt4Predictor:
    """Looks up rationales by text, target and image."""

    def __init__(
        self, recorded_rationales: Mapping[RationaleKey, str], name: str, digest: str
    ) -> None:
        """Store the rationales.

        Args:
            recorded_rationales: Key -> rationale.
            name: The annotator of the opinions.
            digest: sha256 of the file.
        """
        self._rationales = recorded_rationales
        self._name = name
        self._digest = digest

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """Return an opinion per aspect, or an empty one on the post as a whole."""
        return [
            Prediction(tuple(self._opinion(p, a) for a in p.aspects or (OVERALL_ASPECT,)))
            for p in posts
        ]

    def preview(self, posts: Sequence[Post]) -> list[RequestPreview]:
        """Return nothing: there are no requests."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return the file's sha256 and the annotator."""
        return {"file": self._digest, "name": self._name}

    def _opinion(self, post: Post, aspect: Aspect) -> Opinion:
        recorded = find_rationale(self._rationales, post, aspect)
        empty = Opinion(annotator=self._name, aspect=aspect, status=Status.EMPTY)
        if recorded is None:
            provenance = {"recorded": "no rationale for this text, target and image"}
            return empty.model_copy(update={"provenance": provenance})
        if not recorded.strip():
            return empty.model_copy(update={"raw": recorded})
        polarity = stated_label(recorded)
        return Opinion(
            annotator=self._name,
            aspect=aspect,
            polarity=polarity,
            explanation=RATIONALE_PREFIX.sub(
                "", strip_translation(recorded).strip(), count=1
            ).strip()
            or None,
            raw=recorded,
            status=Status.OK if polarity else Status.UNPARSED,
        )


@predictors.register
def make(target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
    """Load the rationales of `CORPUS:SPLIT`; build the predictor.

    Args:
        target: `CORPUS:SPLIT`.
        settings: All settings.
        media_root: Folder that image paths are relative to.

    Returns:
        The predictor.
    """
    name, _, split = target.partition(":")
    folder = rationale_folder(name)
    available_splits = sorted(p.stem for p in folder.glob("*.json"))
    if not re.fullmatch(r"\w+", split) or split not in available_splits:
        hint = (
            ", ".join(f"minigpt4:{name}:{s}" for s in available_splits)
            or "see the folder GEN_MSA_DATA"
        )
        raise UserError(f"no rationales of the split {split!r} of {name}", hint=hint)
    digest = manifest.sha256(folder / f"{split}.json")
    return MiniGpt4Predictor(load_rationales(folder, [split]), settings.model, digest)
