"""Recorded opinions from a file: `recorded:opinions.jsonl`, or `recorded:opinions.jsonl#teacher`.

With `#NAME` only that annotator's opinions count; without it the file must have one annotator
besides `gold`. A post or aspect without a recorded opinion gets status `empty`.

    gen-msa explain posts.jsonl --model recorded:teacher.jsonl
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from gen_msa import jsonl
from gen_msa.errors import UserError
from gen_msa.predictors.base import (
    Prediction,
    Predictor,
    PredictorSettings,
    RequestPreview,
    predictors,
)
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Opinion, Post, Status


class RecordedPredictor:
    """Looks up opinions by post id; they stay on disk, only offsets are in memory."""

    def __init__(self, path: Path, annotator: str, name: str) -> None:
        """Index the file.

        Args:
            path: JSONL of examples.
            annotator: Whose opinions to use; "" for the only annotator besides `gold`.
            name: The annotator of the returned opinions.

        Raises:
            UserError: The annotator is missing or ambiguous, or a post id occurs twice.
        """
        self._path = path
        self._name = name
        self._offsets: dict[str, int] = {}
        self._parse_errors = ""
        self._annotator = self._index(annotator)

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """Return the recorded opinions about each post, in the order of its aspects."""
        return [self._prediction(post) for post in posts]

    def preview(self, posts: Sequence[Post]) -> list[RequestPreview]:
        """Return nothing: there are no requests."""
        return []

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return the file's sha256 and the annotator."""
        with self._path.open("rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
        content: dict[str, JsonValue] = {
            "kind": "recorded",
            "file": digest,
            "annotator": self._annotator,
        }
        return {**content, "name": self._name, "content": content}

    def _index(self, requested: str) -> str:
        """Store the offset of each post's line; return the annotator to use."""
        annotators: set[str] = set()
        parse_errors: list[str] = []
        offset = 0
        with self._path.open("rb") as f:
            for line_number, line in enumerate(f, 1):
                if line.strip():
                    try:
                        jsonl.check_duplicate_keys(line)
                        example = Example.model_validate_json(line)
                    except ValidationError as e:
                        parse_errors.append(
                            f"line {line_number}: {jsonl.format_validation_error(e)}"
                        )
                    except jsonl.DuplicateKey as e:
                        parse_errors.append(f"line {line_number}: {e}")
                    else:
                        self._add_offset(example.post.id, offset, line_number)
                        annotators |= {o.annotator for o in example.opinions}
                offset += len(line)
        if parse_errors:
            self._parse_errors = (
                f" ({len(parse_errors)} lines could not be read; {parse_errors[0]})"
            )
        return self._resolve_annotator(requested, annotators)

    def _add_offset(self, post_id: str, offset: int, line_number: int) -> None:
        if self._offsets.setdefault(post_id, offset) != offset:
            raise UserError(
                f"{self._path}:{line_number}: post {post_id!r} is in the file twice",
                hint="keep one line per post",
            )

    def _resolve_annotator(self, requested: str, annotators: set[str]) -> str:
        if requested and requested in annotators:
            return requested
        others = sorted(annotators - {"gold"})
        if not requested and len(others) == 1:
            return others[0]
        names = ", ".join(sorted(annotators)) or "no annotator"
        hint = f"write recorded:{self._path}#NAME with one of them"
        raise UserError(f"{self._path} has opinions by {names}", hint=hint)

    def _prediction(self, post: Post) -> Prediction:
        offset = self._offsets.get(post.id)
        if offset is None:
            return self._empty_prediction(
                post, f"no row for this post in {self._path}{self._parse_errors}"
            )
        with self._path.open("rb") as f:
            f.seek(offset)
            example = Example.model_validate_json(f.readline())
        if example.post.text != post.text:
            reason = f"{self._path} has another text under the id {post.id!r}"
            return Prediction(rejection=reason, hint="use the file made from these posts")
        opinions = [
            o.model_copy(update={"annotator": self._name})
            for o in example.opinions_by(self._annotator)
        ]
        by_aspect = {o.aspect: o for o in opinions}
        if len(by_aspect) != len(opinions):
            reason = (
                f"{self._path} has two opinions by {self._annotator} on one aspect of {post.id!r}"
            )
            return Prediction(rejection=reason, hint="keep one of them")
        if not post.aspects:
            return (
                Prediction(tuple(opinions))
                if opinions
                else self._empty_prediction(post, "no opinion on this post")
            )
        reason = "no opinion on this aspect"
        return Prediction(
            tuple(by_aspect.get(a) or self._empty_opinion(a, reason) for a in post.aspects)
        )

    def _empty_prediction(self, post: Post, reason: str) -> Prediction:
        return Prediction(
            tuple(self._empty_opinion(a, reason) for a in post.aspects or (OVERALL_ASPECT,))
        )

    def _empty_opinion(self, aspect: Aspect, reason: str) -> Opinion:
        return Opinion(
            annotator=self._name,
            aspect=aspect,
            status=Status.EMPTY,
            provenance={"recorded": reason},
        )


@predictors.register
def make(target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
    """Build the predictor for `FILE[#ANNOTATOR]`.

    Args:
        target: `FILE[#ANNOTATOR]`.
        settings: All settings.
        media_root: Folder that image paths are relative to.

    Returns:
        The predictor.
    """
    name, _, annotator = target.partition("#")
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"no file {name!r} with recorded opinions", hint="write recorded:FILE[#NAME]"
        )
    return RecordedPredictor(path, annotator, settings.model)
