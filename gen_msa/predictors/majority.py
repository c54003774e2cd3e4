"""Baseline: the most frequent gold polarity of a source, for every post.

`majority:SOURCE` counts the gold opinions of `DATASET:SPLIT` or of a file once, when it is built.
Its probabilities are the shares of the classes; the earlier label wins a tie (negative, neutral,
positive). It gives no explanations. Test splits are refused, because their shares are test labels.

    gen-msa explain posts.jsonl --model majority:twitter2015:train
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa.data import open_examples
from gen_msa.data.base import is_test_split
from gen_msa.errors import UserError
from gen_msa.predictors.base import (
    Prediction,
    Predictor,
    PredictorSettings,
    RequestPreview,
    predictors,
)
from gen_msa.predictors.prompted.build_requests import AspectSelection, select_aspects
from gen_msa.types import Example, Opinion, Polarity, Post


class MajorityPredictor:
    """Predicts the same label for every aspect."""

    def __init__(
        self, counts: Mapping[Polarity, int], settings: PredictorSettings, source_description: str
    ) -> None:
        """Compute the shares of the classes.

        Args:
            counts: Gold opinions of each class, at least one in total.
            settings: Where aspects come from.
            source_description: Source of the counts, for `provenance`.
        """
        total = sum(counts.values())
        self._settings = settings
        self._probs = {p: counts.get(p, 0) / total for p in Polarity}
        self._label = max(Polarity, key=lambda p: self._probs[p])  # the first wins a tie
        self._provenance = {"majority_of": source_description}

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """Return the same polarity and probabilities for every aspect."""
        return [self._prediction(selection) for selection in select_aspects(posts, self._settings)]

    def preview(self, posts: Sequence[Post]) -> list[RequestPreview]:
        """Return nothing: there are no requests."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return the probabilities, their source, and where aspects come from."""
        probs: dict[str, JsonValue] = {str(p): prob for p, prob in self._probs.items()}
        settings = {"aspects": self._settings.aspects, "language": self._settings.language}
        content: dict[str, JsonValue] = {"kind": "majority", "probs": probs, **settings}
        return {**content, **self._provenance, "content": content}

    def _prediction(self, selection: AspectSelection) -> Prediction:
        provenance = {
            **self._provenance,
            "language": selection.language,
            "aspect_source": selection.source,
        }
        opinion = Opinion(
            annotator=self._settings.model,
            polarity=self._label,
            probs=dict(self._probs),
            provenance=provenance,
        )
        return Prediction(
            tuple(opinion.model_copy(update={"aspect": a}) for a in selection.aspects)
        )


@predictors.register
def make(target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
    """Count the gold opinions of the source `target`; build the predictor.

    Args:
        target: `DATASET:SPLIT` or a file.
        settings: All settings.
        media_root: Folder that image paths are relative to.

    Returns:
        The predictor.
    """
    if not target:
        hint = "write majority:SOURCE, e.g. majority:twitter2015:train"
        raise UserError("majority needs labels to count", hint=hint)
    if is_test_split(target):
        raise UserError(
            f"majority:{target}: the labels of a test split must not be counted",
            hint="use the train split",
        )
    counts: Counter[Polarity] = Counter()
    n_rejected = 0
    for row in open_examples(target).rows():
        if isinstance(row, Example):
            counts.update(o.polarity for o in row.opinions_by("gold") if o.polarity)
        else:
            n_rejected += 1
    if not counts:
        raise UserError(f"{target} has no gold opinion to count")
    rejected_note = f", {n_rejected:,} rows could not be read" if n_rejected else ""
    return MajorityPredictor(counts, settings, f"{target} (n={counts.total():,}{rejected_note})")
