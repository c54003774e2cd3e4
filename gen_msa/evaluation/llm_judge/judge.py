"""The judge: a backend, the questions it is asked, and what it has already answered.

Writes a judge's requests from pairs and reads the answers into marks. With a ledger no question is
paid for twice. Knows nothing of what is made of the marks.

    judge = Judge.open(JudgeSettings(judge="echo:7"), media_root=Path("pictures"))
    judge.marks([judge.question("judge/focus", pair, {"explanation": "…"})])
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
from gen_msa.predictors.prompted import load_inputs
from gen_msa.prompting import Prompt, parse_verdict
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, FrozenModel, Status


class Rating(FrozenModel):
    """A judge's answer to one question."""

    status: Status
    """`ok`, or why there is no answer; `empty` with `asked` false: there was nothing to judge."""
    prompt: str
    """prompt@hash."""
    was_asked: bool = True
    choice: str | None = None
    """The option it chose, as the prompt writes it; None when its answer could not be read."""
    score: float | None = None
    """Of a scale: the expected value over the options' probabilities where the backend gives them,
    else the number it said."""
    probs: dict[str, float] | None = None
    """Probability of each option."""
    reason: str | None = None
    raw: str = ""
    """The judge's own words, kept whole; of an error, what went wrong."""
    provenance: dict[str, str] = Field(default_factory=dict)
    """What the backend and the pictures want known."""


class Judgement(FrozenModel):
    """One explanation and what the judge makes of it, by criterion."""

    post: str
    aspect: str
    start: int | None = None
    cluster: str
    annotator: str
    """Whose explanation it is."""
    judge: str
    """As it would be named on the command line."""
    revision: str
    """Of the judge: what its backend says changes whenever its answers could."""
    ratings: dict[str, Rating]
    """Criterion (the last part of its prompt's name) -> mark."""


def save_judgements(rows: Iterable[FrozenModel], path: Path) -> None:
    """Write judgements or duels as JSON lines; the file appears only when it is whole."""
    with jsonl.atomic_write(path) as f:
        for row in rows:
            f.write(row.model_dump_json().encode() + b"\n")


def model_name(name: str) -> str:
    """The model in a reader's or judge's name, folded; the kind itself where nothing follows it."""
    kind, _, target = name.partition(":")
    if kind == "http":
        target = target.partition("#")[2]
    model = target.partition("@")[0].rstrip("/").rpartition("/")[2]
    return (model or kind).casefold()


def is_same_model(judge: str, revision: str, author: Mapping[str, JsonValue] | str) -> bool:
    """Whether `judge` (its name and revision) made what it is to judge.

    `maker` is a reader's fingerprint (`fingerprint()`, or `ReaderResult.facts`), or its name.
    """
    if isinstance(author, str):
        return bool(author) and model_name(author) == model_name(judge)
    settings = author.get("settings")
    name = settings.get("model") if isinstance(settings, dict) else author.get("model")
    if author.get("revision") and author.get("revision") == revision:
        return True
    return isinstance(name, str) and is_same_model(judge, revision, name)


BATCH_SIZE = 256
"""Questions that are put into the ledger at once."""

_IMAGE_TEXT_KEYS = ("caption", "objects", "context")
_EXCLUDED_PATHS = {"chat": {"turns": {"__all__": {"parts": {"__all__": {"path"}}}}}}


class JudgeSettings(Settings):
    """Everything that decides what a judge says."""

    model: str
    """`BACKEND:TARGET`, as readers are named: `http:URL#MODEL`, `transformers:MODEL`, `echo`."""
    criteria: tuple[str, ...] = (
        "judge/correctness",
        "judge/focus",
        "judge/evidence",
        "judge/fluency",
    )
    """Prompts whose options are numbers; each is asked by itself, so that no mark colours another,
    and its number comes first, so that its probabilities can be had."""
    pairwise_prompt: str = "judge/pair"
    """The prompt of `duel`."""
    max_new_tokens: int | None = Field(default=None, gt=0)
    """Overrides the prompts' own limits; a model that thinks before it answers needs more."""
    images: bool = True
    """Show pictures to a judge that sees them."""
    image: ImageLimits = ImageLimits()
    same_model: Literal["refuse", "allow"] = "refuse"
    """What to do when the judge made the explanations itself; models favour their own words."""
    backend: BackendOptions = BackendOptions()


@dataclass(frozen=True)
class JudgeQuestion:
    """One request to the judge, and what must be said of it."""

    prompt: Prompt
    request: Request
    provenance: Mapping[str, str]


class Judge:
    """A backend that marks explanations."""

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
        self._input_settings = PredictorSettings(image=settings.image)
        self._media_root = media_root
        self._prompts: dict[str, Prompt] = {}

    @classmethod
    def open(
        cls,
        settings: JudgeSettings,
        media_root: Path,
        cache: answer_cache.AnswerCache | None = None,
    ) -> Self:
        """The judge that the settings name; loads its model. Raises `UserError`."""
        name, _, target = settings.model.partition(":")
        return cls(backends[name](target, settings.backend), settings, media_root, cache)

    def reject_own_outputs(self, *authors: Mapping[str, JsonValue] | str) -> None:
        """Raise `UserError` when one of `makers` is the judge's own model, unless that was asked
        for (`same_model=allow`).
        """
        is_own = any(
            is_same_model(self.settings.model, self.revision, author) for author in authors
        )
        if is_own and self.settings.same_model == "refuse":
            raise UserError(
                f"the judge {self.settings.model} wrote these explanations itself",
                hint="name another model as judge, or set same_model=allow",
            )

    def load_prompt(self, name: str) -> Prompt:
        """A judge's prompt by name. Raises `UserError` for a prompt of readers."""
        if name not in self._prompts:
            prompt = prompting.load_prompt(name)
            if prompt.task != "judge":
                raise UserError(f"prompt {name} is not a judge prompt", hint="choose one of judge/")
            self._prompts[name] = prompt
        return self._prompts[name]

    def build_question(
        self, prompt_name: str, pair: Pair, slot_texts: Mapping[str, str]
    ) -> JudgeQuestion:
        """One question about the aspect of `pair`; `shown` are the words of the prompt's slots."""
        prompt_template = self.load_prompt(prompt_name)
        inputs = load_inputs(0, pair.post, self._media_root, self._input_settings)
        images = inputs.images if self._sees_images else ()
        provenance = dict(inputs.provenance)
        if inputs.images and not images:
            provenance["image"] = "not shown: the judge sees text only"
        image_text = "; ".join(
            pair.extra_inputs[k] for k in _IMAGE_TEXT_KEYS if pair.extra_inputs.get(k)
        )
        texts = {"image": image_text, **slot_texts}
        cues = {
            slot: Cue(text=text, source="judge")
            for slot, text in texts.items()
            if slot in prompt_template.slots
        }
        request = prompting.render(prompt_template, pair.post, pair_aspect(pair), cues, images)
        if self.settings.max_new_tokens:
            limit = {"max_new_tokens": self.settings.max_new_tokens}
            request = request.model_copy(update=limit)
        return JudgeQuestion(prompt_template, request, provenance)

    def rate(self, questions: Sequence[JudgeQuestion]) -> list[Rating]:
        """The judge's answers, in order, those on record without asking again."""
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
        """A picture counts by its hash and size, wherever it lies."""
        request_json = request.model_dump(mode="json", exclude=_EXCLUDED_PATHS)
        identity: dict[str, JsonValue] = {"judge": self.settings.model, "revision": self.revision}
        return answer_cache.hash_key({**identity, "request": request_json})


def pair_aspect(pair: Pair) -> Aspect:
    """The aspect that a pair is about."""
    opinion = pair.prediction or pair.gold
    if opinion is None:
        raise ValueError("a pair without any opinion")
    return opinion.aspect


def empty_rating(prompt: Prompt) -> Rating:
    """The mark of a row without an explanation, which the judge is not asked about."""
    return Rating(status=Status.EMPTY, prompt=prompt.identity, was_asked=False)


def _rating(question: JudgeQuestion, completion: Completion) -> Rating:
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
