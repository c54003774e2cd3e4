"""The judge: a backend, the questions it is asked, and what it has already answered.

Writes a judge's requests from pairs and reads the answers into marks. With a ledger no question is
paid for twice. Knows nothing of what is made of the marks.

    judge = Judge.open(JudgeSettings(judge="echo:7"), media_root=Path("pictures"))
    judge.marks([judge.question("judge/focus", pair, {"explanation": "…"})])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue

from gen_msa import ledger, prompting
from gen_msa.backends import Backend, BackendOptions, backends
from gen_msa.chat import Completion, Request
from gen_msa.errors import UserError
from gen_msa.evaluating.judging.marks import Mark
from gen_msa.evaluating.judging.same import same_model
from gen_msa.media import PictureLimits
from gen_msa.metrics import Pair
from gen_msa.prompting import Prompt, read_verdict
from gen_msa.readers import ReaderSettings
from gen_msa.readers.prompted import see
from gen_msa.settings import Settings
from gen_msa.types import Aspect, Cue, Status

TOGETHER = 256
"""Questions that are put into the ledger at once."""

_PICTURE = ("caption", "objects", "context")
_NO_PATH = {"chat": {"turns": {"__all__": {"parts": {"__all__": {"path"}}}}}}


class JudgeSettings(Settings):
    """Everything that decides what a judge says."""

    judge: str
    """`BACKEND:TARGET`, as readers are named: `http:URL#MODEL`, `transformers:MODEL`, `echo`."""
    criteria: tuple[str, ...] = (
        "judge/correctness",
        "judge/focus",
        "judge/evidence",
        "judge/fluency",
    )
    """Prompts whose options are numbers; each is asked by itself, so that no mark colours another,
    and its number comes first, so that its probabilities can be had."""
    pair: str = "judge/pair"
    """The prompt of `duel`."""
    max_new_tokens: int | None = Field(default=None, gt=0)
    """Overrides the prompts' own limits; a model that thinks before it answers needs more."""
    pictures: bool = True
    """Show pictures to a judge that sees them."""
    picture: PictureLimits = PictureLimits()
    same_model: Literal["refuse", "allow"] = "refuse"
    """What to do when the judge made the explanations itself; models favour their own words."""
    backend: BackendOptions = BackendOptions()


@dataclass(frozen=True)
class Question:
    """One request to the judge, and what must be said of it."""

    prompt: Prompt
    request: Request
    how: Mapping[str, str]


class Judge:
    """A backend that marks explanations."""

    def __init__(
        self,
        backend: Backend,
        settings: JudgeSettings,
        media_root: Path,
        known: ledger.Ledger | None = None,
    ) -> None:
        self.settings = settings
        self.revision = backend.revision
        self._backend = backend
        self._known = known
        self._seeing = ReaderSettings(picture=settings.picture)
        self._root = media_root
        self._prompts: dict[str, Prompt] = {}

    @classmethod
    def open(
        cls, settings: JudgeSettings, media_root: Path, known: ledger.Ledger | None = None
    ) -> Self:
        """The judge that the settings name; loads its model. Raises `UserError`."""
        name, _, target = settings.judge.partition(":")
        return cls(backends[name](target, settings.backend), settings, media_root, known)

    def refuse_own(self, *makers: Mapping[str, JsonValue] | str) -> None:
        """Raise `UserError` when one of `makers` is the judge's own model, unless that was asked
        for (`same_model=allow`).
        """
        own = any(same_model(self.settings.judge, self.revision, maker) for maker in makers)
        if own and self.settings.same_model == "refuse":
            raise UserError(
                f"the judge {self.settings.judge} made these explanations itself",
                mend="name another model as judge, or say same_model=allow",
            )

    def prompt(self, name: str) -> Prompt:
        """A judge's prompt by name. Raises `UserError` for a prompt of readers."""
        if name not in self._prompts:
            prompt = prompting.load(name)
            if prompt.task != "judge":
                raise UserError(f"prompt {name} is not for judges", mend="choose one of judge/")
            self._prompts[name] = prompt
        return self._prompts[name]

    def question(self, prompt: str, pair: Pair, shown: Mapping[str, str]) -> Question:
        """One question about the aspect of `pair`; `shown` are the words of the prompt's slots."""
        asked = self.prompt(prompt)
        seen = see(0, pair.post, self._root, self._seeing)
        pictures = seen.pictures if self._sees else ()
        how = dict(seen.how)
        if seen.pictures and not pictures:
            how["picture"] = "not shown: the judge sees text only"
        picture = "; ".join(pair.shown[k] for k in _PICTURE if pair.shown.get(k))
        texts = {"picture": picture, **shown}
        cues = {s: Cue(text=t, source="judging") for s, t in texts.items() if s in asked.slots}
        request = prompting.render(asked, pair.post, aspect_of(pair), cues, pictures)
        if self.settings.max_new_tokens:
            limit = {"max_new_tokens": self.settings.max_new_tokens}
            request = request.model_copy(update=limit)
        return Question(asked, request, how)

    def marks(self, questions: Sequence[Question]) -> list[Mark]:
        """The judge's answers, in order, those on record without asking again."""
        said: list[Completion] = []
        for at in range(0, len(questions), TOGETHER):
            said += self._answers([q.request for q in questions[at : at + TOGETHER]])
        return [_mark(q, c) for q, c in zip(questions, said, strict=True)]

    @property
    def _sees(self) -> bool:
        return self._backend.sees_pictures and self.settings.pictures

    def _answers(self, requests: Sequence[Request]) -> list[Completion]:
        if self._known is None:
            return self._backend.complete(requests)
        keys = [self._key(r) for r in requests]
        found = self._known.get(keys)
        new = {k: r for k, r in zip(keys, requests, strict=True) if k not in found}
        fresh = dict(zip(new, self._backend.complete(list(new.values())), strict=True))
        # An error is no answer: it is asked again next time.
        good = {k: c for k, c in fresh.items() if c.finish_reason != "error"}
        self._known.put({k: c.model_dump(mode="json") for k, c in good.items()})
        old = {k: Completion.model_validate(v) for k, v in found.items()}
        return [(old | fresh)[k] for k in keys]

    def _key(self, request: Request) -> str:
        """A picture counts by its hash and size, wherever it lies."""
        asked = request.model_dump(mode="json", exclude=_NO_PATH)
        who: dict[str, JsonValue] = {"judge": self.settings.judge, "revision": self.revision}
        return ledger.key({**who, "request": asked})


def aspect_of(pair: Pair) -> Aspect:
    """The aspect that a pair is about."""
    opinion = pair.said or pair.gold
    if opinion is None:
        raise ValueError("a pair without any opinion")
    return opinion.aspect


def nothing_to_judge(prompt: Prompt) -> Mark:
    """The mark of a row without an explanation, which the judge is not asked about."""
    return Mark(status=Status.EMPTY, prompt=prompt.identity, asked=False)


def _mark(question: Question, said: Completion) -> Mark:
    verdict = read_verdict(question.prompt, said)
    values = {o: float(o) for o in question.prompt.options if o.isdecimal()}
    score = None
    if len(values) == len(question.prompt.options) and verdict.option:
        probs = verdict.probs or {verdict.option: 1.0}
        score = sum(values[o] * p for o, p in probs.items())
    return Mark(
        status=verdict.status,
        prompt=question.prompt.identity,
        said=verdict.option,
        score=score,
        probs=verdict.probs,
        why=verdict.why,
        raw=said.text or said.error,
        how={**question.how, **said.notes},
    )
