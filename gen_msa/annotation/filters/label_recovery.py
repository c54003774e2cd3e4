"""A second model recovers the label from the explanation alone.

Label words in the explanation are masked as in simulatability, and the model sees neither post nor
image. A student trained on explanations is cheap and accurate; the builtin model is weak.

    filters={label_recovery: {model: "student:students/explanation_classifier"}}
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa import predictors
from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.data.formats import locate_aspects
from gen_msa.metrics.explanation_text import mask_labels
from gen_msa.predictors import PredictorSettings
from gen_msa.settings import Settings
from gen_msa.types import OVERALL_ASPECT, Opinion, Post


class LabelRecoveryOptions(PredictorSettings):
    """The second model, with all settings of a predictor."""

    min_probability: float = Field(default=0.0, ge=0.0, le=1.0)
    """Minimum probability of the label, if the model gives probabilities."""


@filters.register
class LabelRecoveryFilter:
    """Predicts the label from the explanation alone."""

    Options: ClassVar[type[Settings]] = LabelRecoveryOptions
    stage: ClassVar[Stage] = "model"

    def __init__(self, options: LabelRecoveryOptions, context: FilterContext) -> None:
        explicit = options.model_fields_set & PredictorSettings.model_fields.keys()
        predictor_options = {name: getattr(options, name) for name in explicit}
        self._min_probability = options.min_probability
        self._predictor = predictors.make(
            PredictorSettings.model_validate(predictor_options), context.media_root
        )

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject an explanation from which another label, or none, is predicted."""
        explained = [row for row in rows if row.explanation]
        predictions = (
            self._predictor.predict([_explanation_post(row) for row in explained])
            if explained
            else []
        )
        remaining = iter(predictions)
        return [
            self._verdict(row, next(remaining).opinions) if row.explanation else NO_EXPLANATION
            for row in rows
        ]

    def fingerprint(self) -> JsonValue:
        """Return the fingerprint of the second model."""
        return self._predictor.fingerprint()

    def _verdict(self, row: Candidate, opinions: Sequence[Opinion]) -> str | None:
        label = row.opinion.polarity
        recovered = opinions[0] if opinions else None
        if recovered is None or recovered.polarity is None:
            return "no label can be parsed from it"
        if recovered.polarity is not label:
            return f"it reads as {recovered.polarity}; the label is {label}"
        probability = recovered.probability
        if probability is not None and probability < self._min_probability:
            return f"it reads as {label} with a probability of {probability:.2f} only"
        return None


def _explanation_post(row: Candidate) -> Post:
    """Return a post whose text is the masked explanation, with the same aspect and nothing else."""
    text, term = mask_labels(row.explanation), row.opinion.aspect.term
    aspect = locate_aspects(text, [term])[0] if term else OVERALL_ASPECT
    return Post(id=row.post.id, text=text, aspects=(aspect,))
