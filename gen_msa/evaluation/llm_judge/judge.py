"""The judge: a backend, the questions it is asked, and the cache of its answers.

It builds requests from pairs and parses the answers into ratings. With an answer cache no question
is asked twice.

    judge = Judge.open(JudgeSettings(model="echo:7"), media_root=Path("images"))
    judge.rate([judge.build_question("judge/focus", pair, {"explanation": "…"})])
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue

from gen_msa import answer_cache, jsonl, prompting
from gen_msa.backends import Backend, BackendOptions, backends
from gen_msa.chat import Completion, Request
from gen_msa.errors import UserError
from gen_msa.media import ImageLimits
from gen_msa.metrics import Pair
from gen_msa.predictors import PredictorSettings
from gen_msa.predictors.prompted import PostRejected, load_inputs
from gen_msa.prompting import Prompt, parse_verdict
from gen_msa.pseudonyms import Disguise, ItemKinds
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, FrozenModel, Status


class Rating(FrozenModel):
    """The judge's answer to one question."""

    status: Status
    """`ok`, or why there is no answer; `empty` with `was_sent` false: there was nothing to rate.
    """
    prompt: str
    """prompt@hash."""
    was_sent: bool = True
    choice: str | None = None
    """The chosen option as the prompt writes it; None when the answer could not be parsed."""
    score: float | None = None
    """For a scale: the expected value over the options' probabilities where the backend gives them,
    else the chosen number."""
    probs: dict[str, float] | None = None
    """Probability of each option."""
    reason: str | None = None
    raw: str = ""
    """The judge's answer in full; for an error, its message."""
    provenance: dict[str, str] = Field(default_factory=dict)
    """Notes of the backend and about images."""


class Judgement(FrozenModel):
    """The judge's ratings of one explanation, by criterion."""

    post: str
    aspect: str
    start: int | None = None
    cluster: str
    annotator: str
    """Whose explanation it is."""
    judge: str
    """The judge as named on the command line."""
    revision: str
    """Revision of the judge: changes whenever its answers could."""
    ratings: dict[str, Rating]
    """Criterion (the last part of the prompt's name) -> rating."""


def save_judgements(rows: Iterable[FrozenModel], path: Path) -> None:
    """Write judgements as JSON lines; the file appears only when it is complete.

    Args:
        rows: Pointwise or pairwise judgements.
        path: The file.
    """
    with jsonl.atomic_write(path) as f:
        for row in rows:
            f.write(row.model_dump_json().encode() + b"\n")


def model_name(name: str) -> str:
    """Return the casefolded model in the name of a predictor or judge, or its kind."""
    kind, _, target = name.partition(":")
    if kind == "http":
        target = target.partition("#")[2]
    model = target.partition("@")[0].rstrip("/").rpartition("/")[2]
    return (model or kind).casefold()


def is_same_model(judge: str, revision: str, author: Mapping[str, JsonValue] | str) -> bool:
    """Return whether a judge wrote what it is to rate.

    Args:
        judge: Name of the judge.
        revision: Revision of its backend.
        author: Fingerprint of the predictor (`SystemResult.fingerprint`), or its name.
    """
    if isinstance(author, str):
        return bool(author) and model_name(author) == model_name(judge)
    settings = author.get("settings")
    name = settings.get("model") if isinstance(settings, dict) else author.get("model")
    if author.get("revision") and author.get("revision") == revision:
        return True
    return isinstance(name, str) and is_same_model(judge, revision, name)


BATCH_SIZE = 256
"""Questions that are cached at once."""

_IMAGE_TEXT_KEYS = ("caption", "objects", "context")
_EXCLUDED_PATHS = {"chat": {"turns": {"__all__": {"parts": {"__all__": {"path"}}}}}}


class JudgeSettings(Settings):
    """Everything that decides what a judge answers."""

    model: str
    """`BACKEND:TARGET`, as models are named: `http:URL#MODEL`, `transformers:MODEL`, `echo`."""
    criteria: tuple[str, ...] = (
        "judge/correctness",
        "judge/focus",
        "judge/evidence",
        "judge/fluency",
    )
    """Prompts whose options are numbers. Each is asked separately, so that ratings do not influence
    each other, and the number comes first, so that its probabilities are available."""
    pairwise_prompt: str = "judge/pair"
    """The prompt of pairwise judgements."""
    max_new_tokens: int | None = Field(default=None, gt=0)
    """Overrides the limits of the prompts; a reasoning model needs more."""
    images: bool = True
    """Show images to a judge that accepts them."""
    image: ImageLimits = ImageLimits()
    pseudonymize: ItemKinds = ()
    """What the judge sees a placeholder for, in posts and explanations: `[handles, names, urls,
    emails, phones]`, some of them, or `all`."""
    same_model: Literal["refuse", "allow"] = "refuse"
    """What to do when the judge wrote the explanations itself; models favour their own texts."""
    backend: BackendOptions = BackendOptions()


@dataclass(frozen=True)
class JudgeQuestion:
    """One request to the judge, with its prompt and notes."""

    prompt: Prompt
    request: Request
    provenance: Mapping[str, str]
    disguise: Disguise | None = None
    """The placeholders of what is pseudonymized."""


class Judge:
    """A backend that rates explanations.

    Args:
        backend: The model.
        settings: Prompts and limits.
        media_root: Folder that relative media paths start from.
        cache: Answers of earlier runs; None: every question is asked.
    """

    def __init__(
        self,
        backend: Backend,
        settings: JudgeSettings,
        media_root: Path,
        cache: answer_cache.AnswerCache | None = None,
    ) -> None:
        self.settings = settings
        self.revision = backend.revision
        self._backend = backend
        self._cache = cache
        self._input_settings = PredictorSettings(
            image=settings.image, pseudonymize=settings.pseudonymize
        )
        self._media_root = media_root
        self._prompts: dict[str, Prompt] = {}

    @classmethod
    def open(
        cls,
        settings: JudgeSettings,
        media_root: Path,
        cache: answer_cache.AnswerCache | None = None,
    ) -> Self:
        """Load the judge that the settings name.

        Args:
            settings: Backend, prompts and limits.
            media_root: Folder that relative media paths start from.
            cache: Answers of earlier runs.

        Raises:
            UserError: An unknown backend, or a model that cannot be loaded.
        """
        name, _, target = settings.model.partition(":")
        return cls(backends[name](target, settings.backend), settings, media_root, cache)

    def reject_self_judgement(self, *authors: Mapping[str, JsonValue] | str) -> None:
        """Check that the judge did not write the explanations, unless `same_model=allow`.

        Args:
            authors: Fingerprint or name of each author.

        Raises:
            UserError: One of the authors is the judge's own model.
        """
        is_self = any(
            is_same_model(self.settings.model, self.revision, author) for author in authors
        )
        if is_self and self.settings.same_model == "refuse":
            raise UserError(
                f"the judge {self.settings.model} wrote these explanations itself",
                hint="name another model as judge, or set same_model=allow",
            )

    def load_prompt(self, name: str) -> Prompt:
        """Return a judge prompt by name. Raises `UserError` for a prompt with another task."""
        if name not in self._prompts:
            prompt = prompting.load_prompt(name)
            if prompt.task != "judge":
                raise UserError(f"prompt {name} is not a judge prompt", hint="choose one of judge/")
            self._prompts[name] = prompt
        return self._prompts[name]

    def build_question(
        self, prompt_name: str, pair: Pair, slot_texts: Mapping[str, str]
    ) -> JudgeQuestion:
        """Build one question about the aspect of a pair.

        Args:
            prompt_name: Name of the prompt.
            pair: The row.
            slot_texts: Slot of the prompt -> text.

        Returns:
            The request with its prompt, and notes about the image.
        """
        prompt_template = self.load_prompt(prompt_name)
        try:
            inputs = load_inputs(0, pair.post, self._media_root, self._input_settings)
        except PostRejected as e:
            raise UserError(f"post {pair.post.id!r}: {e.reason}", hint=e.hint) from None
        images = inputs.images if self._sees_images else ()
        provenance = dict(inputs.provenance)
        if inputs.images and not images:
            provenance["image"] = "not shown: the judge sees text only"
        image_text = "; ".join(
            pair.extra_inputs[k] for k in _IMAGE_TEXT_KEYS if pair.extra_inputs.get(k)
        )
        texts = {"image": image_text, **slot_texts}
        hide = inputs.disguise.hide if inputs.disguise else str
        cues = {
            slot: Cue(text=hide(text), source="judge")
            for slot, text in texts.items()
            if slot in prompt_template.slots
        }
        aspect = pair_aspect(pair)
        if inputs.disguise is not None:
            aspect = inputs.disguise.hide_aspect(aspect)
        request = prompting.render(prompt_template, inputs.sent_post, aspect, cues, images)
        if self.settings.max_new_tokens:
            limit = {"max_new_tokens": self.settings.max_new_tokens}
            request = request.model_copy(update=limit)
        return JudgeQuestion(prompt_template, request, provenance, inputs.disguise)

    def rate(self, questions: Sequence[JudgeQuestion]) -> list[Rating]:
        """Return the judge's ratings in order; cached questions are not asked again."""
        completions: list[Completion] = []
        for start in range(0, len(questions), BATCH_SIZE):
            completions += self._complete(
                [q.request for q in questions[start : start + BATCH_SIZE]]
            )
        return [_rating(q, c) for q, c in zip(questions, completions, strict=True)]

    @property
    def _sees_images(self) -> bool:
        return self._backend.supports_images and self.settings.images

    def _complete(self, requests: Sequence[Request]) -> list[Completion]:
        if self._cache is None:
            return self._backend.complete(requests)
        keys = [self._key(r) for r in requests]
        cached = self._cache.get(keys)
        new_requests = {k: r for k, r in zip(keys, requests, strict=True) if k not in cached}
        new_answers = dict(
            zip(new_requests, self._backend.complete(list(new_requests.values())), strict=True)
        )
        # An error is not an answer: the question is asked again next time.
        storable = {k: c for k, c in new_answers.items() if c.finish_reason != "error"}
        self._cache.put({k: c.model_dump(mode="json") for k, c in storable.items()})
        cached_answers = {k: Completion.model_validate(v) for k, v in cached.items()}
        return [(cached_answers | new_answers)[k] for k in keys]

    def _key(self, request: Request) -> str:
        """Return the cache key of a request; an image counts by its hash and size."""
        request_json = request.model_dump(mode="json", exclude=_EXCLUDED_PATHS)
        kind = self.settings.model.partition(":")[0]  # the revision has the rest
        identity: dict[str, JsonValue] = {"judge": kind, "revision": self.revision}
        return answer_cache.hash_key({**identity, "request": request_json})


def pair_aspect(pair: Pair) -> Aspect:
    """Return the aspect that a pair is about."""
    opinion = pair.prediction or pair.gold
    if opinion is None:
        raise ValueError("a pair without any opinion")
    return opinion.aspect


def empty_rating(prompt: Prompt) -> Rating:
    """Return the rating of a row without an explanation, about which the judge is not asked."""
    return Rating(status=Status.EMPTY, prompt=prompt.identity, was_sent=False)


def _rating(question: JudgeQuestion, completion: Completion) -> Rating:
    if question.disguise is not None:
        restored = question.disguise.restore(completion.text)
        completion = completion.model_copy(update={"text": restored})
    verdict = parse_verdict(question.prompt, completion)
    option_values = {o: float(o) for o in question.prompt.options if o.isdecimal()}
    score = None
    if len(option_values) == len(question.prompt.options) and verdict.option:
        probs = verdict.probs or {verdict.option: 1.0}
        score = sum(option_values[o] * p for o, p in probs.items())
    return Rating(
        status=verdict.status,
        prompt=question.prompt.identity,
        choice=verdict.option,
        score=score,
        probs=verdict.probs,
        reason=verdict.explanation,
        raw=completion.text or completion.error,
        provenance={**question.provenance, **completion.notes},
    )
