"""Asks as training asked: settings that a fine-tuned model brings along, and what contradicts them.

A model tuned on one prompt, cue form and picture budget answers worse, without a word, when asked
in another way. So its own settings are used where the user gave none, and another prompt, cue or
budget is refused unless `adapter_settings=override`. Knows nothing of models or folders.

    settings = as_trained(settings, backend.trained)
"""

from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import JsonValue

from gen_msa import prompting
from gen_msa.errors import UserError
from gen_msa.media import PictureLimits
from gen_msa.prompting import Prompt
from gen_msa.readers.base import ReaderSettings

_TASKS = {"prompt": "aspect", "aspects_prompt": "aspects", "overall_prompt": "overall"}
_TAKEN = ("cues", "max_new_tokens", "reask_prompt")
_OVERRIDE = "leave it out, or say adapter_settings=override to ask otherwise than it was trained"

_GIVE = "give the file it was trained with, prompt=FILE.jinja, or say adapter_settings=override"


class Trained(Protocol):
    """What is known of how a model was fine-tuned (`backends.local.adapters.AdapterFacts`)."""

    @property
    def prompts(self) -> Mapping[str, str]:
        """Name -> digest of every prompt that was trained."""

    @property
    def reading(self) -> Mapping[str, JsonValue]:
        """Fields of `ReaderSettings` that were trained with."""


def as_trained(settings: ReaderSettings, trained: Trained | None) -> ReaderSettings:
    """The settings with the model's own where the user gave none.

    Raises `UserError` when a setting that was given, or a prompt as it now stands, is not what was
    trained with. `None` (not fine-tuned, or by another tool) changes nothing.
    """
    if trained is None:
        return settings
    strict = settings.adapter_settings == "keep"
    given, then = settings.model_fields_set, trained.reading
    if strict and "cues" in given and "cues" in then and _plain(settings.cues) != then["cues"]:
        raise UserError(f"cues: the model was trained with {then['cues']}", mend=_OVERRIDE)
    own = {k: then[k] for k in _TAKEN if then.get(k) is not None and k not in given}
    fields = {name: getattr(settings, name) for name in given}
    for field, task in _TASKS.items():
        if field not in given or strict:
            fields[field] = _prompt(field, task, settings, trained)
    picture = _pictures(settings.picture, then, strict=strict)
    return ReaderSettings.model_validate({**fields, **own, "picture": picture})


def _plain(cues: dict[str, dict[str, Any]] | None) -> Any:
    return ReaderSettings(cues=cues).model_dump(mode="json")["cues"]


def _pictures(now: PictureLimits, then: Mapping[str, JsonValue], *, strict: bool) -> PictureLimits:
    """The trained budget, and nothing else: what may be opened or fetched is the user's to say."""
    picture = then.get("picture")
    budget = picture.get("max_pixels") if isinstance(picture, dict) else None
    if budget is None or budget == now.max_pixels:
        return now
    if "max_pixels" not in now.model_fields_set:
        return PictureLimits.model_validate({**now.model_dump(), "max_pixels": budget})
    if strict:
        said = f"picture.max_pixels={now.max_pixels}: the model was trained with {budget}"
        raise UserError(said, mend=_OVERRIDE)
    return now


def _prompt(field: str, task: str, settings: ReaderSettings, trained: Trained) -> str:
    """The prompt of a task: the given one if its digest was trained, else a trained one.

    A task that was not trained keeps the usual prompt.
    """
    now: str = getattr(settings, field)
    loaded = {name: _loaded(name) for name in trained.prompts}
    able = [n for n, p in loaded.items() if p and p.task == task and not p.takes_label]
    lost = [n for n, p in loaded.items() if p is None]
    known = ", ".join(f"{n}@{d[:8]}" for n, d in trained.prompts.items())
    if field in settings.model_fields_set:
        same = not (able or lost) or prompting.load(now).digest in trained.prompts.values()
        if not same:
            raise UserError(f"{field}={now}: the model was trained with {known}", mend=_OVERRIDE)
        return now
    if lost and not able and task == "aspect":
        raise UserError(f"the prompt {lost[0]} it was trained with is not here", mend=_GIVE)
    if not able:
        return now
    named = trained.reading.get(field)
    name = str(named) if named in able else able[0]
    chosen = loaded[name]
    if settings.adapter_settings == "keep" and chosen and chosen.digest != trained.prompts[name]:
        said = f"{field}: {chosen.identity} is not as it was in training: {known}"
        raise UserError(said, mend=_GIVE)
    return name


def _loaded(name: str) -> Prompt | None:
    try:
        return prompting.load(name)
    except UserError:
        return None
