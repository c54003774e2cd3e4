"""From what is seen to requests: cues written, prompts rendered.

The second step of a prompted reader. Knows nothing of backends' answers.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gen_msa import prompting
from gen_msa.chat import Request
from gen_msa.cues import CueSource, cues
from gen_msa.errors import UserError
from gen_msa.prompting import Prompt
from gen_msa.readers.base import ReaderSettings
from gen_msa.readers.prompted.seeing import Seen
from gen_msa.settings import build
from gen_msa.types import WHOLE_POST, Aspect, Cue, Polarity


@dataclass(frozen=True)
class Question:
    """One request, and what reading its answer needs."""

    seen: Seen
    prompt: Prompt
    aspect: Aspect
    cues: Mapping[str, Cue]
    request: Request
    how: Mapping[str, str]


class Asker:
    """Writes the questions of one task: a prompt and the cue sources that fill its slots."""

    def __init__(
        self, prompt: str, settings: ReaderSettings, media_root: Path, *, sees_pictures: bool
    ) -> None:
        self.prompt = prompting.load(prompt)
        if self.prompt.task == "judge":
            raise UserError(f"prompt {prompt} is for judges", mend="choose one of reader/")
        self._limit = settings.max_new_tokens
        self._sees_pictures = sees_pictures
        self._sources = _sources(self.prompt, settings, media_root)
        self._writing = threading.Lock()
        """Detectors behind cues are not made for two threads; a job writes some ahead in one."""

    def recued(self, change: Callable[[CueSource], CueSource]) -> Self:
        """The same asker with each cue source as `change` makes it."""
        self._sources = [change(source) for source in self._sources]
        return self

    def ask(self, seen: Sequence[Seen]) -> list[Question]:
        """The questions about each post, in order: one an aspect, or one for the joint task."""
        if self.prompt.task == "aspects":
            return [self.question(s, WHOLE_POST, {}) for s in seen]
        return [
            self.question(s, aspect, hints)
            for s, written in zip(seen, self.hints(seen), strict=True)
            for aspect, hints in zip(s.post.aspects, written, strict=True)
        ]

    def hints(self, seen: Sequence[Seen]) -> list[list[dict[str, Cue]]]:
        """For each post, and each of its aspects, the cues by slot."""
        with self._writing:
            posts = [s.post for s in seen]
            written = [(source.slot, source.cues(posts)) for source in self._sources]
        return [
            [{slot: found[i][j] for slot, found in written} for j in range(len(s.post.aspects))]
            for i, s in enumerate(seen)
        ]

    def question(
        self,
        seen: Seen,
        aspect: Aspect,
        hints: Mapping[str, Cue],
        label: Polarity | None = None,
    ) -> Question:
        """One question with the cues already written; `label` is for prompts that take one."""
        hints = {slot: hints[slot] for slot in self.prompt.slots if slot in hints}
        pictures = seen.pictures if self._sees_pictures else ()
        how = {**seen.how, "prompt": self.prompt.identity}
        if seen.pictures and not pictures:
            how["picture"] = "not shown: the reader sees text only"
        how |= {f"cue_source.{slot}": cue.source for slot, cue in hints.items()}
        about = None if self.prompt.task == "aspects" else aspect
        request = prompting.render(self.prompt, seen.post, about, hints, pictures, label=label)
        if self._limit:
            request = request.model_copy(update={"max_new_tokens": self._limit})
        return Question(seen, self.prompt, aspect, hints, request, how)

    def fingerprint(self) -> dict[str, str]:
        """The prompt's digest and what each cue depends on."""
        return {"prompt": self.prompt.digest} | {
            f"cue.{source.slot}": source.fingerprint() for source in self._sources
        }


def _sources(prompt: Prompt, settings: ReaderSettings, root: Path) -> list[CueSource]:
    wanted = settings.cues
    if wanted is None:
        wanted = {slot: {} for slot in prompt.slots if slot in cues}
    made = []
    for name, options in wanted.items():
        kind = cues[name]
        if "media_root" in kind.Options.model_fields:
            # A source that opens pictures itself looks where the job does, unless told otherwise.
            options = {"media_root": root, **options}
        source = kind(build(kind.Options, options, f"cues.{name}"))
        if source.slot in prompt.slots:
            made.append(source)
        elif prompt.name == settings.prompt:
            # Other prompts (overall, aspects) leave out the cues they have no place for.
            slots = ", ".join(prompt.slots) or "none"
            raise UserError(f"{prompt.name} has no slot {source.slot!r}; its slots: {slots}")
    return made
