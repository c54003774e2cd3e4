"""A teacher whose answers go through gates and who is asked again for those that did not pass.

    read -> answered whole? -> gates of words -> gates that ask -> passed, or asked with a new seed

Every answer comes out, passed or not, with its way through the gates in `how`; gates that look at
the whole file come later. Knows nothing of files or ledgers.

    Gated(AnnotateSettings(reader="echo", gates={"length": {}}), root).read(examples)
"""

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa import readers
from gen_msa.annotating import _marks as marks
from gen_msa.annotating._guiding import LabelConditionedTeacher
from gen_msa.annotating._settings import AnnotateSettings
from gen_msa.annotating._steering import TOKENS, SamplingBackend, sampling
from gen_msa.annotating.gates import FilterContext, Candidate, Filter, filters
from gen_msa.errors import UserError
from gen_msa.readers import Continuation, Prediction, Shown
from gen_msa.readers.prompted import PromptedPredictor
from gen_msa.settings import build
from gen_msa.types import Aspect, Example, Opinion, Post, Status

_VOTE_SEED_OFFSET = 1_000
"""Seeds of gates begin so far above those of answers."""


class FilteredTeacher:
    """A reader, the gates its answers must pass, and further tries for those that did not."""

    def __init__(self, settings: AnnotateSettings, media_root: Path) -> None:
        self._settings = settings
        self._predictor = readers.make(settings.predictor_settings(), media_root)
        self._label_conditioned: LabelConditionedTeacher | None = None
        can_sample = False
        if isinstance(self._predictor, PromptedPredictor):
            sampling_backend = SamplingBackend(self._predictor.backend)
            can_sample = sampling_backend.samples
            self._predictor = self._predictor.with_backend(sampling_backend)
            self._label_conditioned = LabelConditionedTeacher(self._predictor, media_root) if settings.reveals_label else None
        elif settings.reveals_label:
            raise UserError(f"{settings.model} is asked nothing, so that nothing can guide it")
        self._max_attempts = 1 + settings.retries if can_sample else 1
        sample = self._sample if can_sample and not self._label_conditioned else None
        all_filters = build_filters(settings, FilterContext(media_root, sample))
        self._filters = {name: answer_filter for name, answer_filter in all_filters.items() if answer_filter.stage != "file"}
        fingerprint = self._predictor.fingerprint()
        revision = str(fingerprint.get("revision") or fingerprint.get("file") or settings.model)
        self._teacher = f"{settings.model} {revision[:80]}"
        self._votes: Counter[tuple[str, Aspect, int]] = Counter()
        self.is_concurrent = readers.is_concurrent(self._predictor)
        self._filter_lock = threading.Lock()
        """Gates and their models are not made for two threads; asking is."""

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """The first questions; what is left is to ask them, to judge, and to ask again."""
        first = self._prepare(examples)
        return lambda: self._predict(examples, first)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Every answer about each example's post, failed ones before those that passed."""
        return self.prepare(examples)()

    def _predict(self, examples: Sequence[Example], first: Continuation) -> list[Prediction]:
        opinions_by_row: list[list[Opinion]] = [[] for _ in examples]
        rejected_by_row: dict[int, Prediction] = {}
        pending_aspects: dict[int, frozenset[Aspect] | None] = dict.fromkeys(range(len(examples)))
        for attempt in range(1, self._max_attempts + 1):
            requested_examples = [_restrict_to(examples[row], aspects) for row, aspects in pending_aspects.items()]
            continuation = first if attempt == 1 else self._prepare(requested_examples)
            predictions = self._run_sampled(continuation, attempt)
            rejected_by_row |= {r: prediction for r, prediction in zip(pending_aspects, predictions, strict=True) if prediction.rejection}
            requested = _requested_opinions(pending_aspects, predictions)
            with self._filter_lock:
                filtered_opinions = self._apply_filters([Candidate(examples[r].post, o) for r, o in requested], attempt)
            failed: dict[int, set[Aspect]] = {}
            for (row, _), opinion in zip(requested, filtered_opinions, strict=True):
                opinions_by_row[row].append(opinion)
                # What could not be asked at all is left for the next run.
                if marks.failed_filters(opinion) and opinion.status is not Status.ERROR:
                    failed.setdefault(row, set()).add(opinion.aspect)
            pending_aspects = {row: frozenset(aspects) for row, aspects in failed.items()}
            if not pending_aspects:
                break
        return [rejected_by_row.get(row) or Prediction(tuple(opinions)) for row, opinions in enumerate(opinions_by_row)]

    def preview(self, examples: Sequence[Example]) -> list[Shown]:
        """The teacher's first questions, as they would be asked the first time."""
        if self._label_conditioned:
            return self._label_conditioned.preview(examples)
        return self._predictor.preview([e.post for e in examples])

    def fingerprint(self) -> dict[str, JsonValue]:
        """The reader's, every gate's that answers are judged by on the way, and what draws."""
        sampling_settings = {"retries", "seed", "temperature", "retry_temperature", "guided", "label_in_context"}
        filter_fingerprints = {name: answer_filter.fingerprint() for name, answer_filter in self._filters.items()}
        options: dict[str, JsonValue] = {n: self._settings.filters[n] for n in self._filters}
        return {
            "reader": self._predictor.fingerprint(),
            "gates": {"options": options, "own": filter_fingerprints},
            "prompt": self._label_conditioned.prompt.digest if self._label_conditioned else "",
            "asked": self._settings.model_dump(mode="json", include=sampling_settings),
        }

    def _prepare(self, examples: Sequence[Example]) -> Continuation:
        if self._label_conditioned:
            return self._label_conditioned.prepare(examples)
        return readers.prepare(self._predictor, [e.post for e in examples])

    def _run_sampled(self, continuation: Continuation, attempt: int) -> list[Prediction]:
        settings = self._settings
        temperature = settings.temperature if attempt == 1 else settings.retry_temperature
        with sampling(temperature=temperature, seed=settings.seed + attempt - 1):
            return continuation()

    def _sample(self, posts: Sequence[Post], draw: int) -> list[Prediction]:
        """Further answers, for a gate; what they cost is added to the answer they are about."""
        settings = self._settings
        with sampling(temperature=settings.retry_temperature, seed=settings.seed + _VOTE_SEED_OFFSET + draw):
            predictions = self._predictor.predict(posts)
        for post, prediction in zip(posts, predictions, strict=True):
            for opinion in prediction.opinions:
                for token_kind, count in enumerate(marks.token_counts(opinion) or ()):
                    self._votes[post.id, opinion.aspect, token_kind] += count
        return predictions

    def _apply_filters(self, rows: Sequence[Candidate], attempt: int) -> list[Opinion]:
        verdicts = self._collect_verdicts(rows)
        opinions = []
        for row, row_verdicts in zip(rows, verdicts, strict=True):
            opinion = marks.with_verdicts(row.opinion, row_verdicts, attempt, self._teacher)
            extra_tokens = [self._votes.pop((row.post.id, opinion.aspect, token_kind), 0) for token_kind in (0, 1)]
            if any(extra_tokens):
                prompt_tokens, answer_tokens = marks.token_counts(opinion) or (0, 0)
                provenance = {**opinion.provenance, TOKENS: f"{prompt_tokens + extra_tokens[0]}+{answer_tokens + extra_tokens[1]}"}
                opinion = opinion.model_copy(update={"how": provenance})
            opinions.append(opinion)
        return opinions

    def _collect_verdicts(self, rows: Sequence[Candidate]) -> list[dict[str, str | None]]:
        """Gate -> verdict of each row, for the gates that were shown it."""
        invalid = [marks.invalid_reason(row.opinion) for row in rows]
        verdicts: list[dict[str, str | None]] = [{marks.ANSWER_FILTER: reason} if reason else {} for reason in invalid]
        for stage in ("words", "asks"):
            candidate_rows = [i for i, v in enumerate(verdicts) if not any(v.values())]
            if stage == "words":
                candidate_rows = [i for i, reason in enumerate(invalid) if not reason]
            for name, answer_filter in self._filters.items():
                if answer_filter.stage == stage and candidate_rows:
                    reasons = answer_filter.check([rows[i] for i in candidate_rows])
                    for i, reason in zip(candidate_rows, reasons, strict=True):
                        verdicts[i][name] = reason
        return verdicts


def build_filters(settings: AnnotateSettings, context: FilterContext) -> dict[str, Filter]:
    """Every gate of the settings, made. Raises `UserError` for an unknown gate or option."""
    built = {}
    for name, options in settings.filters.items():
        factory = filters[name]
        built[name] = factory(build(factory.Options, options or {}, f"gates.{name}"), context)
    return built


def _restrict_to(example: Example, aspects: frozenset[Aspect] | None) -> Example:
    """The example asked about these aspects alone; None: about all."""
    if aspects is None:
        return example
    post = example.post
    if post.aspects:
        kept_aspects = tuple(a for a in post.aspects if a in aspects) or post.aspects
        post = post.model_copy(update={"aspects": kept_aspects})
    gold = tuple(o for o in example.opinions if o.aspect in aspects)
    return Example(post=post, opinions=gold)


def _requested_opinions(
    pending_aspects: dict[int, frozenset[Aspect] | None], predictions: Sequence[Prediction]
) -> list[tuple[int, Opinion]]:
    """Row and opinion of all that was asked for; a joint answer's tokens stand once."""
    requested = []
    for (row, aspects), prediction in zip(pending_aspects.items(), predictions, strict=True):
        tokens_counted = False
        for o in prediction.opinions:
            is_joint = "span" in o.provenance
            if is_joint and tokens_counted:
                o = o.model_copy(update={"how": {k: v for k, v in o.provenance.items() if k != TOKENS}})
            tokens_counted = tokens_counted or is_joint
            if aspects is None or o.aspect in aspects:
                requested.append((row, o))
    return requested
