"""A compact model that `gen-msa distill` trained: `student:DIR`, read on the CPU.

DIR is the student's own folder, or what `gen-msa export DIR --onnx` made of it, which is read by
onnxruntime. The folder is checked, byte by byte, before it is opened.

Says polarity and probabilities; and, found by taking words away, which words carry the answer, with
a reason made of them (`explanation_source: template`). That costs some fifteen readings for one:
`reasons=false` leaves it out. A student of reasons (`text: reason`) takes the post's text for
somebody's explanation. Knows nothing of how it was trained.

    gen-msa explain posts.jsonl --reader student:students/text/student
"""

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa.errors import UserError
from gen_msa.readers._reasoning import TEMPLATE_SOURCE, AspectContext, build_evidence, aspect_contexts, template_explanation
from gen_msa.readers._showing import StudentInputs as Seen
from gen_msa.readers._showing import context_cues, build_student_inputs
from gen_msa.readers._student import Classifier, load_classifier
from gen_msa.readers.base import Predictor, PredictorSettings, Prediction, Shown, predictors
from gen_msa.students import CLASSES, AspectExample
from gen_msa.students.common.occluding import Attribution, attribute
from gen_msa.types import Opinion, Polarity, Post, Status


class StudentPredictor:
    """Asks a student about each aspect of each post, many rows at once."""

    def __init__(self, classifier: Classifier, settings: PredictorSettings, media_root: Path) -> None:
        """Raises `UserError` for cues that the student was not trained with."""
        self._classifier = classifier
        self._settings = settings
        self._root = media_root
        self._cues = context_cues(classifier.student_config, settings)

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """The opinions about each post, in the order of its aspects."""
        inputs = build_student_inputs(posts, self._classifier.student_config, self._settings, self._root)
        class_probs = self._classifier.predict_probs(inputs.rows)
        opinions = [self._opinion(*row_fields) for row_fields in zip(inputs.rows, class_probs, inputs.provenance, strict=True)]
        if self._settings.explanations:
            opinions = self._explain(inputs, class_probs, opinions)
        remaining = iter(opinions)
        return [
            inputs.rejected.get(i) or Prediction(tuple(next(remaining) for _ in p.aspects))
            for i, p in enumerate(inputs.posts)
        ]

    def preview(self, posts: Sequence[Post]) -> list[Shown]:
        """Nothing: a student is asked nothing in words."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """Hash of every byte of the student's folder, its name, and what it is asked for."""
        settings = self._settings
        identity = {"revision": self._classifier.revision, "name": settings.model, "aspects": settings.aspects}
        cue_options: dict[str, JsonValue] = {k: dict(v) for k, v in self._cues.items()}
        image_settings = {"pictures": settings.images, "bad_picture": settings.bad_image}
        return {**identity, **image_settings, "reasons": settings.explanations, "near": settings.cues != {}, "cues": cue_options}

    def _opinion(self, row: AspectExample, class_probs: Sequence[float], provenance: dict[str, str]) -> Opinion:
        student_config, annotator = self._classifier.student_config, self._settings.model
        provenance = {"student": f"{student_config.student}@{self._classifier.revision[:12]}", **provenance}
        if self._classifier.engine != "torch":
            provenance["engine"] = self._classifier.engine
        if student_config.text == "reason":
            provenance["reads"] = "the text as a reason"
        if self._classifier.is_truncated(row):
            provenance["text"] = f"cut at {student_config.max_length} tokens"
        if not all(map(math.isfinite, class_probs)):
            provenance["error"] = "its logits are not finite"
            return Opinion(annotator=annotator, aspect=row.aspect, status=Status.ERROR, provenance=provenance)
        probs: dict[Polarity, float] = dict(zip(CLASSES, class_probs, strict=True))
        label = max(CLASSES, key=lambda c: probs[c])
        return Opinion(annotator=annotator, aspect=row.aspect, polarity=label, probs=probs, provenance=provenance)

    def _explain(
        self, inputs: Seen, class_probs: Sequence[Sequence[float]], opinions: Sequence[Opinion]
    ) -> list[Opinion]:
        """The opinions with their evidence and reasons; those without a polarity as they are."""
        attributions = attribute(inputs.rows, class_probs, self._classifier.predict_probs)
        contexts = [AspectContext()] * len(inputs.rows)
        if self._settings.cues != {}:
            contexts = [aspect_context for post_contexts in aspect_contexts(inputs.posts) for aspect_context in post_contexts]
        return [_with_explanation(*aspect_context) for aspect_context in zip(opinions, inputs.rows, attributions, contexts, strict=True)]


def _with_explanation(opinion: Opinion, row: AspectExample, attribution: Attribution, aspect_context: AspectContext) -> Opinion:
    if opinion.polarity is None:
        return opinion
    evidence_items = build_evidence(row.text, row.context, attribution)
    others = [f"the {name}" for name in attribution.part_drops]
    explanation = template_explanation(opinion.aspect, opinion.polarity, evidence_items, aspect_context, others)
    provenance = {**opinion.provenance, "explanation_source": TEMPLATE_SOURCE}
    if aspect_context.source:
        provenance["cue_source"] = aspect_context.source
    return opinion.model_copy(update={"explanation": explanation, "evidence": evidence_items, "how": provenance})


@predictors.register
def make(target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
    """The student in the folder `target`."""
    folder = Path(target)
    if not target or not folder.is_dir():
        raise UserError(f"no folder {target!r} with a student in it", hint="write student:DIR")
    if settings.backend.device not in ("auto", "cpu"):
        raise UserError(f"students read on the CPU, not on {settings.backend.device}")
    if settings.backend.dtype not in ("auto", "float32"):
        raise UserError(f"students read in float32, not in {settings.backend.dtype}")
    classifier = load_classifier(folder, batch_size=settings.backend.batch_size)
    if classifier.engine == "onnx int8" and settings.backend.dtype != "auto":
        raise UserError(f"{folder} reads in int8, not in {settings.backend.dtype}")
    return StudentPredictor(classifier, settings, media_root)
