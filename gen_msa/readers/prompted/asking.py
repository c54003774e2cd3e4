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
from gen_msa.cues import CueSource, cue_sources
from gen_msa.errors import UserError
from gen_msa.prompting import Prompt
from gen_msa.readers.base import PredictorSettings
from gen_msa.readers.prompted.seeing import StudentInputs
from gen_msa.settings import build
from gen_msa.types import OVERALL_ASPECT, Aspect, Cue, Polarity


@dataclass(frozen=True)
class PromptRequest:
    """One request, and what reading its answer needs."""

    inputs: StudentInputs
    prompt: Prompt
    aspect: Aspect
    cues: Mapping[str, Cue]
    request: Request
    provenance: Mapping[str, str]


class RequestBuilder:
    """Writes the questions of one task: a prompt and the cue sources that fill its slots."""

    def __init__(
        self, prompt: str, settings: PredictorSettings, media_root: Path, *, supports_images: bool
    ) -> None:
        self.prompt = prompting.load_prompt(prompt)
        if self.prompt.task == "judge":
            raise UserError(f"prompt {prompt} is for judges", hint="choose one of reader/")
        self._max_new_tokens = settings.max_new_tokens
        self._supports_images = supports_images
        self._cue_sources = _build_cue_sources(self.prompt, settings, media_root)
        self._cue_lock = threading.Lock()
        """Detectors behind cues are not made for two threads; a job writes some ahead in one."""

    def with_cues(self, wrap: Callable[[CueSource], CueSource]) -> Self:
        """The same asker with each cue source as `change` makes it."""
        self._cue_sources = [wrap(source) for source in self._cue_sources]
        return self

    def build(self, inputs: Sequence[StudentInputs]) -> list[PromptRequest]:
        """The questions about each post, in order: one an aspect, or one for the joint task."""
        if self.prompt.task == "aspects":
            return [self.build_one(post_inputs, OVERALL_ASPECT, {}) for post_inputs in inputs]
        return [
            self.build_one(post_inputs, aspect, aspect_cues)
            for post_inputs, post_cues in zip(inputs, self.write_cues(inputs), strict=True)
            for aspect, aspect_cues in zip(post_inputs.post.aspects, post_cues, strict=True)
        ]

    def write_cues(self, inputs: Sequence[StudentInputs]) -> list[list[dict[str, Cue]]]:
        """For each post, and each of its aspects, the cues by slot."""
        with self._cue_lock:
            posts = [post_inputs.post for post_inputs in inputs]
            cues_by_slot = [(source.slot, source.cues(posts)) for source in self._cue_sources]
        return [
            [{slot: cue_rows[i][j] for slot, cue_rows in cues_by_slot} for j in range(len(post_inputs.post.aspects))]
            for i, post_inputs in enumerate(inputs)
        ]

    def build_one(
        self,
        inputs: StudentInputs,
        aspect: Aspect,
        aspect_cues: Mapping[str, Cue],
        label: Polarity | None = None,
    ) -> PromptRequest:
        """One question with the cues already written; `label` is for prompts that take one."""
        aspect_cues = {slot: aspect_cues[slot] for slot in self.prompt.slots if slot in aspect_cues}
        images = inputs.images if self._supports_images else ()
        provenance = {**inputs.provenance, "prompt": self.prompt.identity}
        if inputs.images and not images:
            provenance["picture"] = "not shown: the reader sees text only"
        provenance |= {f"cue_source.{slot}": cue.source for slot, cue in aspect_cues.items()}
        rendered_aspect = None if self.prompt.task == "aspects" else aspect
        request = prompting.render(self.prompt, inputs.post, rendered_aspect, aspect_cues, images, label=label)
        if self._max_new_tokens:
            request = request.model_copy(update={"max_new_tokens": self._max_new_tokens})
        return PromptRequest(inputs, self.prompt, aspect, aspect_cues, request, provenance)

    def fingerprint(self) -> dict[str, str]:
        """The prompt's digest and what each cue depends on."""
        return {"prompt": self.prompt.digest} | {
            f"cue.{source.slot}": source.fingerprint() for source in self._cue_sources
        }


def _build_cue_sources(prompt: Prompt, settings: PredictorSettings, root: Path) -> list[CueSource]:
    requested = settings.cues
    if requested is None:
        requested = {slot: {} for slot in prompt.slots if slot in cue_sources}
    built_sources = []
    for name, options in requested.items():
        source_type = cue_sources[name]
        if "media_root" in source_type.Options.model_fields:
            # A source that opens pictures itself looks where the job does, unless told otherwise.
            options = {"media_root": root, **options}
        source = source_type(build(source_type.Options, options, f"cues.{name}"))
        if source.slot in prompt.slots:
            built_sources.append(source)
        elif prompt.name == settings.prompt:
            # Other prompts (overall, aspects) leave out the cues they have no place for.
            slots = ", ".join(prompt.slots) or "none"
            raise UserError(f"{prompt.name} has no slot {source.slot!r}; its slots: {slots}")
    return built_sources
