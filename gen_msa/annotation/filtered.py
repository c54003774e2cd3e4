"""A teacher whose answers must pass filters, and whose rejected questions are retried.

    predict -> complete? -> text filters -> model filters -> accepted, or retried with a new seed

Every answer is returned, accepted or not, with its verdicts in `provenance`. File filters run
later, in `FilterSplitter`.

    FilteredTeacher(AnnotateSettings(model="echo", filters={"length": {}}), root).predict(examples)
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from gen_msa import predictors
from gen_msa.annotation.filters import Candidate, Filter, FilterContext, filters
from gen_msa.annotation.label_conditioned import (
    TOKENS,
    LabelConditionedTeacher,
    SamplingBackend,
    sampling,
)
from gen_msa.annotation.settings import AnnotateSettings
from gen_msa.errors import UserError
from gen_msa.metrics import pair_up
from gen_msa.predictors import Continuation, Prediction, PredictorSettings, RequestPreview
from gen_msa.predictors.prompted import PromptedPredictor
from gen_msa.settings import build, content
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post, Rejected, Status

ANSWER_FILTER = "answer"
"""The filter that is always on: there is an answer, and it is complete."""
_FAILED = "failed."
_PASSED = "filters"
_ATTEMPT = "attempt"
_VERDICT_KEYS = (_PASSED, _ATTEMPT, "teacher")


def invalid_reason(opinion: Opinion) -> str | None:
    """Return why an answer cannot be used for training; None if it is complete and parsed."""
    if opinion.status not in (Status.OK, Status.REPARSED):
        error = opinion.provenance.get("error") or opinion.provenance.get("recorded") or "no label"
        return f"{opinion.status}: {error}"
    if opinion.polarity is None:
        return "it has no label"
    if opinion.provenance.get("explanation") == "cut":
        return "length: the explanation was cut at the token limit"
    return None


def with_verdicts(
    opinion: Opinion, verdicts: Mapping[str, str | None], attempt: int, teacher: str
) -> Opinion:
    """Return the opinion with its verdicts in `provenance`; those of an earlier job are removed.

    Args:
        opinion: A teacher's answer.
        verdicts: Filter -> why it rejects the answer, or None.
        attempt: Number of the attempt, from 1.
        teacher: Name and revision of the model.
    """
    provenance = {
        k: v
        for k, v in opinion.provenance.items()
        if k not in _VERDICT_KEYS and not k.startswith(_FAILED)
    }
    passed = ", ".join(name for name, reason in verdicts.items() if reason is None)
    provenance |= {"teacher": teacher, _ATTEMPT: str(attempt), _PASSED: passed}
    provenance |= {
        _FAILED + name: reason for name, reason in verdicts.items() if reason is not None
    }
    return opinion.model_copy(update={"provenance": provenance})


def with_file_verdicts(opinion: Opinion, verdicts: Mapping[str, str | None]) -> Opinion:
    """Return an accepted opinion with the verdicts of file filters added.

    Args:
        opinion: An accepted answer.
        verdicts: Filter -> why it rejects the answer, or None.
    """
    passed = [
        opinion.provenance.get(_PASSED, ""),
        *(n for n, reason in verdicts.items() if reason is None),
    ]
    provenance = {**opinion.provenance, _PASSED: ", ".join(p for p in passed if p)}
    provenance |= {
        _FAILED + name: reason for name, reason in verdicts.items() if reason is not None
    }
    return opinion.model_copy(update={"provenance": provenance})


def failed_filters(opinion: Opinion) -> dict[str, str]:
    """Return filter -> reason of rejection; empty if the opinion passed all its filters."""
    prefix_length = len(_FAILED)
    return {
        k[prefix_length:]: reason
        for k, reason in opinion.provenance.items()
        if k.startswith(_FAILED)
    }


def passed_filters(opinion: Opinion) -> list[str]:
    """Return the filters that the opinion passed."""
    names = opinion.provenance.get(_PASSED, "")
    return names.split(", ") if names else []


def attempt_number(opinion: Opinion) -> int:
    """Return the number of the attempt that gave this answer, from 1."""
    return int(opinion.provenance.get(_ATTEMPT, "1"))


def token_counts(opinion: Opinion) -> tuple[int, int] | None:
    """Return the tokens of prompt and answer; None if unknown."""
    prompt_tokens, plus, answer_tokens = opinion.provenance.get(TOKENS, "").partition("+")
    return (int(prompt_tokens), int(answer_tokens)) if plus else None


LabelPairCounts = Counter[tuple[Polarity, Polarity]]
"""(gold, predicted) -> rows in which both have a label."""


class FilteredAnswer(Rejected):
    """A line of the rejected file: a complete answer that a filter rejected."""

    post: str
    opinion: Opinion
    excluded: bool
    """No answer to this question was accepted."""


class FilterResult(NamedTuple):
    """The answers about one post."""

    accepted: tuple[Opinion, ...]
    failed: tuple[Opinion, ...]
    excluded: frozenset[object]
    """Aspects without an accepted answer."""


@dataclass
class FilterCounts:
    """The counts of a filtered job."""

    questions: int = 0
    accepted: int = 0
    excluded: int = 0
    unanswered: int = 0
    """Questions with a failed request; the next run retries them."""
    answers: int = 0
    """All answers, including retries."""
    checked: Counter[str] = field(default_factory=Counter)
    """Filter -> number of answers it checked."""
    rejected: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    """Questions whose accepted answer was not the first."""
    with_token_counts: int = 0
    """Answers with known token counts."""
    prompt_tokens: int = 0
    """Tokens of prompts."""
    answer_tokens: int = 0
    """Tokens of answers."""
    first_labels: LabelPairCounts = field(default_factory=Counter)
    """Gold against first answers, accepted or not."""
    accepted_labels: LabelPairCounts = field(default_factory=Counter)
    """Gold against accepted answers."""

    def add(self, example: Example, result: FilterResult, annotator: str) -> None:
        """Count the answers about one post.

        Args:
            example: The post with its gold opinions.
            result: The answers.
            annotator: Whose answers these are.
        """
        all_opinions = (*result.accepted, *result.failed)
        unavailable_aspects = {
            opinion.aspect for opinion in all_opinions if opinion.status is Status.ERROR
        } & result.excluded
        self.questions += len({opinion.aspect for opinion in all_opinions})
        self.accepted += len(result.accepted)
        self.unanswered += len(unavailable_aspects)
        self.excluded += len(result.excluded) - len(unavailable_aspects)
        self.answers += len(all_opinions)
        self.retried += sum(attempt_number(opinion) > 1 for opinion in result.accepted)
        for opinion in all_opinions:
            self._count_filters(opinion)
            if counts := token_counts(opinion):
                self.with_token_counts, self.prompt_tokens = (
                    self.with_token_counts + 1,
                    self.prompt_tokens + counts[0],
                )
                self.answer_tokens += counts[1]
        first_opinions = [opinion for opinion in all_opinions if attempt_number(opinion) == 1]
        self.first_labels += _count_label_pairs(example, first_opinions, annotator)
        self.accepted_labels += _count_label_pairs(example, result.accepted, annotator)

    def _count_filters(self, opinion: Opinion) -> None:
        failures = failed_filters(opinion)
        self.checked.update({ANSWER_FILTER, *failures, *passed_filters(opinion)})
        self.rejected.update(list(failures))


class FilterSplitter:
    """Splits the answers of a job into accepted and rejected ones, and counts them."""

    def __init__(self, file_filters: Mapping[str, Filter], annotator: str) -> None:
        """Start with zero counts.

        Args:
            file_filters: The filters of stage `file`.
            annotator: Whose answers these are.
        """
        self.tally = FilterCounts()
        self._filters = file_filters
        self._annotator = annotator

    def __call__(self, example: Example, opinions: Sequence[Opinion]) -> FilterResult:
        """Split the answers about one post."""
        checked = [self._apply_file_filters(example, opinion) for opinion in opinions]
        aspects = list(dict.fromkeys(opinion.aspect for opinion in opinions))
        passed = (opinion for opinion in checked if not failed_filters(opinion))
        accepted = tuple(sorted(passed, key=lambda opinion: aspects.index(opinion.aspect)))
        failed = tuple(opinion for opinion in checked if failed_filters(opinion))
        excluded = frozenset(opinion.aspect for opinion in failed) - {
            opinion.aspect for opinion in accepted
        }
        result = FilterResult(accepted, failed, excluded)
        self.tally.add(example, result, self._annotator)
        return result

    def _apply_file_filters(self, example: Example, opinion: Opinion) -> Opinion:
        if failed_filters(opinion) or not self._filters:
            return opinion
        row = [Candidate(example.post, opinion)]
        verdicts: dict[str, str | None] = {}
        for name, answer_filter in self._filters.items():
            (verdicts[name],) = answer_filter.check(row)
        return with_file_verdicts(opinion, verdicts)


def filtered_answer_row(
    source: str, line: int, example: Example, opinion: Opinion, is_excluded: bool
) -> FilteredAnswer:
    """Return the line of the rejected file for one answer.

    Args:
        source: Name of the source.
        line: 1-based row of the post.
        example: The post.
        opinion: The rejected answer.
        is_excluded: Whether no answer to this question was accepted.
    """
    reason = "; ".join(f"{name}: {detail}" for name, detail in failed_filters(opinion).items())
    return FilteredAnswer(
        file=source,
        line=line,
        reason=reason,
        raw=(opinion.raw or opinion.explanation or "")[:500],
        post=example.post.id,
        opinion=opinion,
        excluded=is_excluded,
    )


def _count_label_pairs(
    example: Example, opinions: Sequence[Opinion], annotator: str
) -> LabelPairCounts:
    gold = example.opinions_by("gold")
    pairs = (
        pair_up(Example(post=example.post, opinions=(*gold, *opinions)), annotator) if gold else []
    )
    return Counter((p.label, p.predicted_label) for p in pairs if p.label and p.predicted_label)


_VOTE_SEED_OFFSET = 1_000
"""Seeds of votes start this far above those of answers."""


class FilteredTeacher:
    """A predictor whose answers must pass filters; rejected questions are retried."""

    def __init__(self, settings: AnnotateSettings, media_root: Path) -> None:
        self._settings = settings
        self._predictor = predictors.make(settings.predictor_settings(), media_root)
        self._label_conditioned: LabelConditionedTeacher | None = None
        can_sample = False
        if isinstance(self._predictor, PromptedPredictor):
            sampling_backend = SamplingBackend(self._predictor.backend)
            can_sample = sampling_backend.samples
            self._predictor = self._predictor.with_backend(sampling_backend)
            self._label_conditioned = (
                LabelConditionedTeacher(self._predictor, media_root)
                if settings.reveals_label
                else None
            )
        elif settings.reveals_label:
            raise UserError(
                f"{settings.model} takes no prompt, so that gold labels cannot guide it"
            )
        self._max_attempts = 1 + settings.retries if can_sample else 1
        sample = self._sample if can_sample and not self._label_conditioned else None
        all_filters = build_filters(settings, FilterContext(media_root, sample))
        self._filters = {
            name: answer_filter
            for name, answer_filter in all_filters.items()
            if answer_filter.stage != "file"
        }
        fingerprint = self._predictor.fingerprint()
        revision = str(fingerprint.get("revision") or fingerprint.get("file") or settings.model)
        self._teacher = f"{settings.model} {revision[:80]}"
        self._votes: Counter[tuple[str, Aspect, int]] = Counter()
        self.is_concurrent = predictors.is_concurrent(self._predictor)
        self._filter_lock = threading.Lock()
        """Filters and their models are not thread-safe; requests are."""

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """Write the first requests.

        Returns:
            A function that runs the model, applies the filters and retries.
        """
        first = self._prepare(examples)
        return lambda: self._predict(examples, first)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return every answer about each example's post, rejected ones before accepted ones."""
        return self.prepare(examples)()

    def _predict(self, examples: Sequence[Example], first: Continuation) -> list[Prediction]:
        opinions_by_row: list[list[Opinion]] = [[] for _ in examples]
        rejected_by_row: dict[int, Prediction] = {}
        pending_aspects: dict[int, frozenset[Aspect] | None] = dict.fromkeys(range(len(examples)))
        for attempt in range(1, self._max_attempts + 1):
            requested_examples = [
                _restrict_to(examples[row], aspects) for row, aspects in pending_aspects.items()
            ]
            continuation = first if attempt == 1 else self._prepare(requested_examples)
            predictions = self._run_sampled(continuation, attempt)
            rejected_by_row |= {
                r: prediction
                for r, prediction in zip(pending_aspects, predictions, strict=True)
                if prediction.rejection
            }
            requested = _requested_opinions(pending_aspects, predictions)
            with self._filter_lock:
                filtered_opinions = self._apply_filters(
                    [Candidate(examples[r].post, o) for r, o in requested], attempt
                )
            failed: dict[int, set[Aspect]] = {}
            for (row, _), opinion in zip(requested, filtered_opinions, strict=True):
                opinions_by_row[row].append(opinion)
                # Failed requests are left for the next run.
                if failed_filters(opinion) and opinion.status is not Status.ERROR:
                    failed.setdefault(row, set()).add(opinion.aspect)
            pending_aspects = {row: frozenset(aspects) for row, aspects in failed.items()}
            if not pending_aspects:
                break
        return [
            rejected_by_row.get(row) or Prediction(tuple(opinions))
            for row, opinions in enumerate(opinions_by_row)
        ]

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview]:
        """Return the first requests without running the model."""
        if self._label_conditioned:
            return self._label_conditioned.preview(examples)
        return self._predictor.preview([e.post for e in examples])

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return the fingerprints of the predictor and its filters, and the sampling settings."""
        sampling_settings = {
            "retries",
            "seed",
            "temperature",
            "retry_temperature",
            "guided",
            "label_in_context",
        }
        filter_fingerprints = {
            name: answer_filter.fingerprint() for name, answer_filter in self._filters.items()
        }
        options: dict[str, JsonValue] = {
            name: _option_content(name, self._settings.filters[name] or {})
            for name in self._filters
        }
        return {
            "predictor": self._predictor.fingerprint(),
            "filters": {"options": options, "fingerprints": filter_fingerprints},
            "prompt": self._label_conditioned.prompt.digest if self._label_conditioned else "",
            "sampling": self._settings.model_dump(mode="json", include=sampling_settings),
        }

    def _prepare(self, examples: Sequence[Example]) -> Continuation:
        if self._label_conditioned:
            return self._label_conditioned.prepare(examples)
        return predictors.prepare(self._predictor, [e.post for e in examples])

    def _run_sampled(self, continuation: Continuation, attempt: int) -> list[Prediction]:
        settings = self._settings
        temperature = settings.temperature if attempt == 1 else settings.retry_temperature
        with sampling(temperature=temperature, seed=settings.seed + attempt - 1):
            return continuation()

    def _sample(self, posts: Sequence[Post], draw: int) -> list[Prediction]:
        """Return further answers for a filter; their tokens are added to the answer in question."""
        settings = self._settings
        with sampling(
            temperature=settings.retry_temperature, seed=settings.seed + _VOTE_SEED_OFFSET + draw
        ):
            predictions = self._predictor.predict(posts)
        for post, prediction in zip(posts, predictions, strict=True):
            for opinion in prediction.opinions:
                for token_kind, count in enumerate(token_counts(opinion) or ()):
                    self._votes[post.id, opinion.aspect, token_kind] += count
        return predictions

    def _apply_filters(self, rows: Sequence[Candidate], attempt: int) -> list[Opinion]:
        verdicts = self._collect_verdicts(rows)
        opinions = []
        for row, row_verdicts in zip(rows, verdicts, strict=True):
            opinion = with_verdicts(row.opinion, row_verdicts, attempt, self._teacher)
            extra_tokens = [
                self._votes.pop((row.post.id, opinion.aspect, token_kind), 0)
                for token_kind in (0, 1)
            ]
            if any(extra_tokens):
                prompt_tokens, answer_tokens = token_counts(opinion) or (0, 0)
                provenance = {
                    **opinion.provenance,
                    TOKENS: f"{prompt_tokens + extra_tokens[0]}+{answer_tokens + extra_tokens[1]}",
                }
                opinion = opinion.model_copy(update={"provenance": provenance})
            opinions.append(opinion)
        return opinions

    def _collect_verdicts(self, rows: Sequence[Candidate]) -> list[dict[str, str | None]]:
        """Return, for each row, filter -> verdict of the filters that checked it."""
        invalid = [invalid_reason(row.opinion) for row in rows]
        verdicts: list[dict[str, str | None]] = [
            {ANSWER_FILTER: reason} if reason else {} for reason in invalid
        ]
        for stage in ("text", "model"):
            candidate_rows = [i for i, v in enumerate(verdicts) if not any(v.values())]
            if stage == "text":
                candidate_rows = [i for i, reason in enumerate(invalid) if not reason]
            for name, answer_filter in self._filters.items():
                if answer_filter.stage == stage and candidate_rows:
                    reasons = answer_filter.check([rows[i] for i in candidate_rows])
                    for i, reason in zip(candidate_rows, reasons, strict=True):
                        verdicts[i][name] = reason
        return verdicts


def build_filters(settings: AnnotateSettings, context: FilterContext) -> dict[str, Filter]:
    """Build all filters of the settings.

    Args:
        settings: The job.
        context: What the filters may use.

    Returns:
        Name -> filter, in the order of the settings.

    Raises:
        UserError: A filter or option is unknown.
    """
    built = {}
    for name, options in settings.filters.items():
        factory = filters[name]
        built[name] = factory(build(factory.Options, options or {}, f"filters.{name}"), context)
    return built


def _option_content(name: str, options: Mapping[str, object]) -> JsonValue:
    """Return the options of a filter that its fingerprint does not cover: no models, no sources."""
    built = build(filters[name].Options, options, f"filters.{name}")
    covered = set(PredictorSettings.model_fields) | {"sources"}
    own = set(type(built).model_fields) - covered
    return {field: content(getattr(built, field)) for field in sorted(own)}


def _restrict_to(example: Example, aspects: frozenset[Aspect] | None) -> Example:
    """Return the example with these aspects only; None keeps all."""
    if aspects is None:
        return example
    post = example.post
    if post.aspects:
        remaining_aspects = tuple(a for a in post.aspects if a in aspects) or post.aspects
        post = post.model_copy(update={"aspects": remaining_aspects})
    gold = tuple(o for o in example.opinions if o.aspect in aspects)
    return Example(post=post, opinions=gold)


def _requested_opinions(
    pending_aspects: dict[int, frozenset[Aspect] | None], predictions: Sequence[Prediction]
) -> list[tuple[int, Opinion]]:
    """Return row and opinion for all requested aspects; count tokens of a joint answer once."""
    requested = []
    for (row, aspects), prediction in zip(pending_aspects.items(), predictions, strict=True):
        tokens_counted = False
        for o in prediction.opinions:
            is_joint = "span" in o.provenance
            if is_joint and tokens_counted:
                o = o.model_copy(
                    update={"provenance": {k: v for k, v in o.provenance.items() if k != TOKENS}}
                )
            tokens_counted = tokens_counted or is_joint
            if aspects is None or o.aspect in aspects:
                requested.append((row, o))
    return requested
