"""A student that `gen-msa distill` trained: `student:DIR`, run on the CPU.

DIR is the folder of the student, or its `gen-msa export DIR --onnx`, which runs in onnxruntime. The
manifest of the folder is checked before anything is loaded.

A student gives polarity and probabilities. Occlusion finds the words that carry the answer, and a
template makes an explanation of them (`explanation_source: template`); this costs some fifteen
forward passes, and `explanations=false` turns it off. A student of explanations (`text:
explanation`) takes the text of a post as an explanation.

    gen-msa explain posts.jsonl --model student:students/text/student
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from gen_msa.cues import cue_sources, require_inside
from gen_msa.errors import MissingExtra, UserError
from gen_msa.models import CLASSES, AspectExample
from gen_msa.models.inference.occlusion import Attribution, attribute, cut_row
from gen_msa.predictors._template_explanation import (
    TEMPLATE_SOURCE,
    AspectContext,
    aspect_contexts,
    build_evidence,
    template_explanation,
)
from gen_msa.predictors.base import (
    NOTHING_TO_JUDGE,
    Prediction,
    Predictor,
    PredictorSettings,
    RequestPreview,
    predictors,
)
from gen_msa.predictors.prompted.build_requests import select_aspects
from gen_msa.preemption import preemption_point
from gen_msa.settings import build
from gen_msa.types import Opinion, Polarity, Post, Status

if TYPE_CHECKING:
    from gen_msa.models.inference.serialization import StudentConfig

ONNX_FACTS_FILE = "onnx.json"
"""Marks an exported student; listed in its manifest like every `.json`."""
_BATCH_TOKENS = 512
"""Tokens of a forward pass: on a CPU more are no faster, and shorter work waits for its end."""


@dataclass(frozen=True)
class Classifier:
    """A loaded student."""

    student_config: "StudentConfig"
    revision: str
    """sha256 of the folder's manifest."""
    engine: str
    """`torch`, `onnx` or `onnx int8`."""
    visible_end: Callable[[AspectExample], int | None]
    """The character that a row's text is cut at, by the model's maximum length; None if it fits."""
    predict_probs: Callable[[Sequence[AspectExample]], list[list[float]]]
    """Rows -> probabilities in the order of `CLASSES`; NaN where a logit is not finite."""


def load_classifier(folder: Path, *, batch_size: int = 16) -> Classifier:
    """Load the student of a folder after checking its manifest.

    Args:
        folder: A trained student, or its ONNX export.
        batch_size: Rows per forward pass.

    Returns:
        The loaded student.

    Raises:
        UserError: The folder is incomplete or was altered.
        MissingExtra: torch, tokenizers or onnxruntime is not installed.
    """
    try:
        return (
            _load_onnx(folder, batch_size)
            if (folder / ONNX_FACTS_FILE).is_file()
            else _load_torch(folder, batch_size)
        )
    except ModuleNotFoundError as e:
        if e.name not in ("torch", "tokenizers", "transformers"):
            raise
        raise MissingExtra(e.name, "train") from None


def _load_torch(folder: Path, batch_size: int) -> Classifier:
    from gen_msa.models.inference.predict import predict_probabilities
    from gen_msa.models.inference.serialization import load_student

    loaded = load_student(folder)

    def predict_probs(rows: Sequence[AspectExample]) -> list[list[float]]:
        return predict_probabilities(
            loaded.student,
            loaded.collator,
            rows,
            batch_size=batch_size,
            max_tokens=_BATCH_TOKENS,
        )

    return Classifier(
        loaded.config, loaded.revision, "torch", loaded.collator.visible_end, predict_probs
    )


def _load_onnx(folder: Path, batch_size: int) -> Classifier:
    from gen_msa.models.inference.onnx_runtime import load_onnx_student

    loaded = load_onnx_student(folder)

    def predict_probs(rows: Sequence[AspectExample]) -> list[list[float]]:
        return loaded.predict_probabilities(rows, batch_size=batch_size, max_tokens=_BATCH_TOKENS)

    engine = "onnx int8" if loaded.metadata.precision == "int8" else "onnx"
    return Classifier(
        loaded.config, loaded.revision, engine, loaded.collator.visible_end, predict_probs
    )


_HINT = "fix the file, or predict without it: bad_image=text-only"


@dataclass(frozen=True)
class StudentInputs:
    """Rows of posts; the rows of one post are adjacent."""

    posts: tuple[Post, ...]
    """With the aspects to predict; rejected posts have none."""
    rows: tuple[AspectExample, ...]
    provenance: tuple[dict[str, str], ...]
    """For each row, what its opinion must record."""
    rejected: Mapping[int, Prediction]
    """Index of a post -> why it was rejected."""


def build_student_inputs(
    posts: Sequence[Post], student_config: "StudentConfig", settings: PredictorSettings, root: Path
) -> StudentInputs:
    """Build one row per aspect.

    Args:
        posts: The posts.
        student_config: How the student was trained.
        settings: `bad_image` decides whether a bad image or feature is recorded, rejected or fatal.
        root: Folder that image and feature paths are relative to.

    Returns:
        Rows with their provenance notes.

    Raises:
        UserError: The settings ask for cues that the student was not trained with.
    """
    selections = select_aspects(posts, settings)
    selected_posts = [
        p.model_copy(update={"aspects": selection.aspects})
        for p, selection in zip(posts, selections, strict=True)
    ]
    tensors, input_notes, rejected = _load_features(selected_posts, student_config, settings, root)
    for i, post in enumerate(selected_posts):
        if not post.text.strip() and not tensors[i]:
            rejected.setdefault(i, NOTHING_TO_JUDGE)
    for i in rejected:
        selected_posts[i] = selected_posts[i].model_copy(update={"aspects": ()})
    cues = context_cues(student_config, settings)
    context_texts = _context_texts(selected_posts, cues, root, settings.language)
    rows, provenance = [], []
    for i, (post, selection) in enumerate(zip(selected_posts, selections, strict=True)):
        for n, aspect in enumerate(post.aspects):
            row = AspectExample(
                f"{post.id}/{n}", post.text, aspect, inputs=tensors[i], context=context_texts[i][n]
            )
            rows.append(row)
            provenance.append(
                {
                    "language": selection.language,
                    "aspect_source": selection.source,
                    **input_notes[i],
                }
            )
    return StudentInputs(tuple(selected_posts), tuple(rows), tuple(provenance), rejected)


def context_cues(
    student_config: "StudentConfig", settings: PredictorSettings
) -> Mapping[str, Mapping[str, Any]]:
    """Return the cue sources of the context: the student's own, or others if overridden.

    Args:
        student_config: How the student was trained.
        settings: May name other cues with `adapter_settings=override`.

    Raises:
        UserError: Other cues without `adapter_settings=override`.
    """
    if settings.cues is None or settings.cues == student_config.cues or not student_config.cues:
        return student_config.cues
    if settings.adapter_settings != "override":
        raise UserError(
            f"this student was trained with other cues: {', '.join(student_config.cues)}",
            hint="leave out cues, or add adapter_settings=override",
        )
    return settings.cues


def _context_texts(
    posts: Sequence[Post],
    cue_options: Mapping[str, Mapping[str, Any]],
    root: Path,
    language: str,
) -> list[tuple[str, ...]]:
    if not cue_options:
        return [("",) * len(p.aspects) for p in posts]
    from gen_msa.models.inputs.modalities import build_contexts

    return build_contexts(posts, cue_options, root, language)


def _unused_media(post: Post, names: Sequence[str]) -> dict[str, str]:
    """Return provenance notes for media that the student was trained without."""
    kinds = {"image" if m.kind == "image" else m.key or m.kind for m in post.media}
    return dict.fromkeys(sorted(kinds - set(names)), "not used by this student")


def _load_features(
    posts: Sequence[Post], student_config: "StudentConfig", settings: PredictorSettings, root: Path
) -> tuple[list[dict[str, Any]], list[dict[str, str]], dict[int, Prediction]]:
    """Return the tensors and provenance notes of each post, and the rejected posts."""
    names = [m for m in student_config.width if m not in ("text", "context")]
    input_notes = [_unused_media(post, names) for post in posts]
    rejected: dict[int, Prediction] = {}
    if "image" in names and not settings.images:
        names.remove("image")
        input_notes = [{**note, "image": "not shown"} for note in input_notes]
    if not names:
        return [{} for _ in posts], input_notes, rejected
    from gen_msa.models.inputs.modalities import load_modalities

    loaded = load_modalities(posts, root, names)
    for i, (post, features) in enumerate(zip(posts, loaded, strict=True)):
        for name, problem in features.problems.items():
            if settings.bad_image == "fail":
                raise UserError(f"post {post.id!r}: {name}: {problem}", hint=_HINT)
            if settings.bad_image == "drop":
                rejected[i] = Prediction(rejection=f"{name}: {problem}", hint=_HINT)
            input_notes[i][name] = f"{problem}; predicted without it"
    return [dict(features.tensors) for features in loaded], input_notes, rejected


class StudentPredictor:
    """Predicts all aspects of all posts in batches."""

    is_thread_safe = True

    def __init__(
        self, classifier: Classifier, settings: PredictorSettings, media_root: Path
    ) -> None:
        """Check the cues.

        Args:
            classifier: The loaded student.
            settings: All settings.
            media_root: Folder that image and feature paths are relative to.

        Raises:
            UserError: The settings ask for cues that the student was not trained with.
        """
        self._classifier = classifier
        self._settings = settings
        self._root = media_root
        self._cues = context_cues(classifier.student_config, settings)

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """Return the opinions about each post, in the order of its aspects."""
        inputs = build_student_inputs(
            posts, self._classifier.student_config, self._settings, self._root
        )
        visible_ends = [self._visible_end(row) for row in inputs.rows]
        rows = [cut_row(row, end) for row, end in zip(inputs.rows, visible_ends, strict=True)]
        class_probs = self._classifier.predict_probs(rows)
        opinions = [
            self._opinion(*row_fields)
            for row_fields in zip(
                inputs.rows, class_probs, inputs.provenance, visible_ends, strict=True
            )
        ]
        if self._settings.explanations:
            attributions = attribute(
                rows, class_probs, self._classifier.predict_probs, visible_ends=visible_ends
            )
            opinions = self._explain(inputs, opinions, attributions)
        remaining = iter(opinions)
        return [
            inputs.rejected.get(i) or Prediction(tuple(next(remaining) for _ in p.aspects))
            for i, p in enumerate(inputs.posts)
        ]

    def preview(self, posts: Sequence[Post]) -> list[RequestPreview]:
        """Return nothing: a student has no prompts."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return the hash of the student's folder, its name, and the settings that matter."""
        settings = self._settings
        identity: dict[str, JsonValue] = {
            "revision": self._classifier.revision,
            "name": settings.model,
            "aspects": settings.aspects,
            "language": settings.language,
        }
        cue_options: dict[str, JsonValue] = {k: dict(v) for k, v in self._cues.items()}
        cue_contents: dict[str, JsonValue] = {
            name: cue_sources[name](
                build(cue_sources[name].Options, options, f"cues.{name}")
            ).fingerprint()
            for name, options in self._cues.items()
        }
        shared: dict[str, JsonValue] = {
            "images": settings.images,
            "bad_image": settings.bad_image,
            "explanations": settings.explanations,
            "context": settings.cues != {},
        }
        content = {k: v for k, v in identity.items() if k != "name"}
        return {
            **identity,
            **shared,
            "cues": cue_options,
            "content": {"kind": "student", **content, **shared, "cues": cue_contents},
        }

    def _visible_end(self, row: AspectExample) -> int | None:
        preemption_point()
        return self._classifier.visible_end(row)

    def _opinion(
        self,
        row: AspectExample,
        class_probs: Sequence[float],
        provenance: dict[str, str],
        visible_end: int | None,
    ) -> Opinion:
        student_config, annotator = self._classifier.student_config, self._settings.model
        provenance = {
            "student": f"{student_config.student}@{self._classifier.revision[:12]}",
            **provenance,
        }
        if self._classifier.engine != "torch":
            provenance["engine"] = self._classifier.engine
        if student_config.text == "explanation":
            provenance["input"] = "the text as an explanation"
        if visible_end is not None:
            provenance["text"] = f"cut at {student_config.max_length} tokens"
        if not all(map(math.isfinite, class_probs)):
            provenance["error"] = "the logits are not finite"
            return Opinion(
                annotator=annotator, aspect=row.aspect, status=Status.ERROR, provenance=provenance
            )
        probs: dict[Polarity, float] = dict(zip(CLASSES, class_probs, strict=True))
        label = max(CLASSES, key=lambda c: probs[c])
        return Opinion(
            annotator=annotator,
            aspect=row.aspect,
            polarity=label,
            probs=probs,
            provenance=provenance,
        )

    def _explain(
        self,
        inputs: StudentInputs,
        opinions: Sequence[Opinion],
        attributions: Sequence[Attribution],
    ) -> list[Opinion]:
        """Return the opinions with evidence and explanations; unlabelled ones are unchanged."""
        contexts = [AspectContext()] * len(inputs.rows)
        if self._settings.cues != {}:
            contexts = [
                aspect_context
                for post_contexts in aspect_contexts(inputs.posts)
                for aspect_context in post_contexts
            ]
        return [
            _with_explanation(*row_values)
            for row_values in zip(opinions, inputs.rows, attributions, contexts, strict=True)
        ]


def _with_explanation(
    opinion: Opinion, row: AspectExample, attribution: Attribution, aspect_context: AspectContext
) -> Opinion:
    if opinion.polarity is None:
        return opinion
    evidence_items = build_evidence(row.text, row.context, attribution)
    others = [f"the {name}" for name in attribution.part_drops]
    explanation = template_explanation(
        opinion.aspect, opinion.polarity, evidence_items, aspect_context, others
    )
    provenance = {**opinion.provenance, "explanation_source": TEMPLATE_SOURCE}
    if aspect_context.source:
        provenance["cue_source"] = aspect_context.source
    return opinion.model_copy(
        update={"explanation": explanation, "evidence": evidence_items, "provenance": provenance}
    )


@predictors.register
def make(target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
    """Load the student in the folder `target`; build the predictor.

    Args:
        target: Folder of the student.
        settings: All settings.
        media_root: Folder that image paths are relative to.

    Returns:
        The predictor.
    """
    folder = Path(target)
    if not target or not folder.is_dir():
        raise UserError(f"no folder {target!r} with a student in it", hint="write student:DIR")
    if settings.backend.device not in ("auto", "cpu"):
        raise UserError(f"students run on the CPU, not on {settings.backend.device}")
    if settings.backend.dtype not in ("auto", "float32"):
        raise UserError(f"students run in float32, not in {settings.backend.dtype}")
    classifier = load_classifier(folder, batch_size=settings.backend.batch_size)
    if settings.cues is None:
        require_inside(classifier.student_config.cues, folder, str(folder / "student.json"))
    if classifier.engine == "onnx int8" and settings.backend.dtype != "auto":
        raise UserError(f"{folder} runs in int8, not in {settings.backend.dtype}")
    return StudentPredictor(classifier, settings, media_root)
