"""A reader made of cues, a prompt and a backend: post in, opinions out.

    seeing (pictures, aspects) -> asking (cues, prompt) -> backend -> answers -> Opinion

Knows nothing of which model answers, or of what is done with the opinions.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa import prompting
from gen_msa.backends import Backend
from gen_msa.chat import Completion
from gen_msa.cues import CueSource
from gen_msa.errors import UserError
from gen_msa.readers.base import Finish, ReaderSettings, Reading, Shown
from gen_msa.readers.prompted.asking import Asker, Question
from gen_msa.readers.prompted.seeing import PostRefused, Seen, Task, see, with_aspects
from gen_msa.types import Opinion, Post, Status

_HOW_FAST = {"batch_size", "timeout", "retries", "api_key_variable", "share_prefix"}
"""Backend options that change how soon an answer comes, not what it says."""


class Prompted:
    """Asks a backend about each aspect of each post.

    `prompt` is asked when the settings name none.
    """

    def __init__(
        self,
        backend: Backend,
        settings: ReaderSettings,
        media_root: Path,
        prompt: str = "reader/full",
    ) -> None:
        if not settings.reasons:
            raise UserError(
                "reasons=false is for students: what a prompted reader says is up to its prompt",
                mend="use max_new_tokens=1 for labels alone",
            )
        self._backend = backend
        self._settings = settings.model_copy(update={"prompt": settings.prompt or prompt})
        self._root = media_root
        self._askers: dict[str, Asker] = {}
        self._making = threading.Lock()
        self._recue: Callable[[CueSource], CueSource] | None = None

    def read(self, posts: Sequence[Post]) -> list[Reading]:
        """One `Reading` for each post; aspects are found first where none are given."""
        return self.prepare(posts)()

    def prepare(self, posts: Sequence[Post]) -> Finish:
        """Pictures decoded, aspects found, cues and questions written; what is left is to ask."""
        readings = [Reading()] * len(posts)
        seen: list[Seen] = []
        for row, post in enumerate(posts):
            try:
                seen.append(see(row, post, self._root, self._settings))
            except PostRefused as e:
                readings[row] = Reading(refused=e.reason, mend=e.mend)
        questions = self._questions(seen)

        def finish() -> list[Reading]:
            said: dict[int, list[Opinion]] = {s.row: [] for s in seen}
            for question, opinions in zip(questions, self._answers(questions), strict=True):
                said[question.seen.row].extend(opinions)
            for row, opinions in said.items():
                readings[row] = Reading(opinions=tuple(opinions))
            return readings

        return finish

    def preview(self, posts: Sequence[Post]) -> list[Shown]:
        """Every question about `posts`, with its token count where the backend can tell."""
        seen = [see(row, p, self._root, self._settings) for row, p in enumerate(posts)]
        return [self._shown(q) for q in self._questions(seen)]

    @property
    def overlaps(self) -> bool:
        """Whether its backend gains by questions from several threads."""
        return bool(getattr(self._backend, "overlaps", False))

    @property
    def backend(self) -> Backend:
        """The model that answers."""
        return self._backend

    def over(self, backend: Backend) -> "Prompted":
        """This reader with `backend`, which wraps its model, in its place: nothing is loaded."""
        twin = Prompted(backend, self._settings, self._root)
        twin._recue = self._recue
        return twin

    @property
    def settings(self) -> ReaderSettings:
        """What decides its answers, with what its model was trained with filled in."""
        return self._settings

    def fingerprint(self) -> dict[str, JsonValue]:
        """Model revision, prompts, cues and every setting that shapes an answer."""
        s = self._settings
        names = {s.prompt, s.aspects_prompt, s.overall_prompt, s.reask_prompt} - {""}
        prompts: dict[str, JsonValue] = {n: dict(self._asker(n).fingerprint()) for n in names}
        settings = s.model_dump(mode="json", exclude={"backend": _HOW_FAST})
        return {"settings": settings, "revision": self._backend.revision, "prompts": prompts}

    def recued(self, change: Callable[[CueSource], CueSource]) -> "Prompted":
        """This reader with each cue source as `change` makes it: same model, nothing is loaded."""
        twin = Prompted(self._backend, self._settings, self._root)
        twin._recue = change
        return twin

    def _questions(self, seen: Sequence[Seen]) -> list[Question]:
        """All questions, those of one post side by side and posts in order."""
        s = self._settings
        prompts: dict[Task, str] = {
            "aspect": s.prompt,
            "aspects": s.aspects_prompt,
            "overall": s.overall_prompt,
        }
        tasked = with_aspects(seen, s, lists_aspects=self._backend.lists_aspects)
        questions: list[Question] = []
        for task, prompt in prompts.items():
            some = [x for x in tasked if x.task == task]
            questions += self._asker(prompt).ask(some) if some else []
        return sorted(questions, key=lambda q: q.seen.row)

    def _answers(self, questions: Sequence[Question]) -> list[list[Opinion]]:
        """What the backend says to each question; what could not be read is asked once more."""
        completions = self._backend.complete([q.request for q in questions])
        said = [self._opinions(q, c) for q, c in zip(questions, completions, strict=True)]
        unread = [i for i, q in enumerate(questions) if _worth_reasking(q, said[i])]
        if unread and self._settings.reask_prompt:
            asker = self._asker(self._settings.reask_prompt)
            again = [_repeat(asker, questions[i]) for i in unread]
            completions = self._backend.complete([q.request for q in again])
            for i, q, c in zip(unread, again, completions, strict=True):
                said[i] = [_after_reasking(said[i][0], self._opinions(q, c)[0])]
        return said

    def _opinions(self, question: Question, completion: Completion) -> list[Opinion]:
        q, by = question, self._settings.reader
        how = {**q.how, **completion.notes}
        if completion.finish_reason == "error":
            how["error"] = completion.error
            return [Opinion(by=by, aspect=q.aspect, status=Status.ERROR, how=how)]
        if q.prompt.task == "aspects":
            found = prompting.read_aspects(q.prompt, completion, q.seen.post, by)
        else:
            found = [prompting.read_opinion(q.prompt, completion, q.seen.post, q.aspect, by)]
        return [o.model_copy(update={"how": {**how, **o.how}}) for o in found]

    def _shown(self, q: Question) -> Shown:
        count = self._backend.count_tokens(q.request.chat)
        return Shown(
            post=q.seen.post,
            aspect=q.aspect.term,
            pictures=tuple(f"{p.path} (≤ {p.max_pixels} px)" for p in q.request.chat.pictures),
            cues={slot: f"{cue.text} [{cue.source}]" for slot, cue in q.cues.items()},
            prompt=q.request.chat.as_text(),
            tokens=count.total if count else None,
            picture_tokens=count.picture if count else None,
            how=dict(q.how),
        )

    def _asker(self, prompt: str) -> Asker:
        with self._making:
            if prompt not in self._askers:
                sees = self._backend.sees_pictures and self._settings.pictures
                asker = Asker(prompt, self._settings, self._root, sees_pictures=sees)
                self._askers[prompt] = asker.recued(self._recue) if self._recue else asker
            return self._askers[prompt]


def _worth_reasking(question: Question, said: list[Opinion]) -> bool:
    return question.prompt.task != "aspects" and said[0].status is Status.UNPARSED


def _repeat(asker: Asker, question: Question) -> Question:
    return asker.question(question.seen, question.aspect, question.cues)


def _after_reasking(first: Opinion, second: Opinion) -> Opinion:
    """The first answer's words with the second's label; the first as it was if that failed too."""
    if second.polarity is None:
        return first
    raw = f"{first.raw or ''}\n---\n{second.raw or ''}"
    how = {**first.how, "reasked_with": second.how.get("prompt", "")}
    label = {"polarity": second.polarity, "probs": second.probs, "status": Status.REPARSED}
    return first.model_copy(update={**label, "raw": raw, "how": how})
