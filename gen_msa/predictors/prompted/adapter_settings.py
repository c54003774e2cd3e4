"""Settings that a fine-tuned model brings along, and errors for settings that contradict them.

A model tuned on one prompt, cue form and image budget gives worse answers with others. Its own
settings are used where the user set none; other prompts, cues or budgets are refused unless
`adapter_settings=override`.

    settings = apply_training_settings(settings, backend.training_metadata)
"""

from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import JsonValue

from gen_msa import prompting
from gen_msa.errors import UserError
from gen_msa.media import ImageLimits
from gen_msa.predictors.base import PredictorSettings
from gen_msa.prompting import Prompt

_TASK_OF_FIELD = {"prompt": "aspect", "aspects_prompt": "aspects", "overall_prompt": "overall"}
_INHERITED_FIELDS = ("cues", "max_new_tokens", "reask_prompt")
_OVERRIDE_HINT = "leave it out, or add adapter_settings=override"
_PROMPT_HINT = (
    "give the prompt file of the training, prompt=FILE.jinja, or adapter_settings=override"
)


class TrainedAdapter(Protocol):
    """How a model was fine-tuned (`backends.local.adapters.AdapterFacts`)."""

    @property
    def prompts(self) -> Mapping[str, str]:
        """Name -> digest of every prompt it was trained with."""

    @property
    def inference(self) -> Mapping[str, JsonValue]:
        """Fields of `PredictorSettings` it was trained with."""


def apply_training_settings(
    settings: PredictorSettings, trained: TrainedAdapter | None
) -> PredictorSettings:
    """Return the settings, with those of the training where the user set none.

    Args:
        settings: The settings of the user.
        trained: Those of the training; None (not fine-tuned, or by another tool) changes nothing.

    Raises:
        UserError: A setting, or a prompt as it is now, differs from the training.
    """
    if trained is None:
        return settings
    strict = settings.adapter_settings == "strict"
    explicit, trained_settings = settings.model_fields_set, trained.inference
    if (
        strict
        and "cues" in explicit
        and "cues" in trained_settings
        and _dump_cues(settings.cues) != trained_settings["cues"]
    ):
        raise UserError(
            f"cues: the model was trained with {trained_settings['cues']}", hint=_OVERRIDE_HINT
        )
    inherited = {
        k: trained_settings[k]
        for k in _INHERITED_FIELDS
        if trained_settings.get(k) is not None and k not in explicit
    }
    fields = {name: getattr(settings, name) for name in explicit}
    for field, task in _TASK_OF_FIELD.items():
        if field not in explicit or strict:
            fields[field] = _resolve_prompt(field, task, settings, trained)
    image = _apply_image_budget(settings.image, trained_settings, strict=strict)
    return PredictorSettings.model_validate({**fields, **inherited, "image": image})


def _dump_cues(cues: dict[str, dict[str, Any]] | None) -> Any:
    return PredictorSettings(cues=cues).model_dump(mode="json")["cues"]


def _apply_image_budget(
    limits: ImageLimits, trained_settings: Mapping[str, JsonValue], *, strict: bool
) -> ImageLimits:
    """Return the limits with the trained `max_pixels`; all others are the user's."""
    trained_image = trained_settings.get("image")
    budget = trained_image.get("max_pixels") if isinstance(trained_image, dict) else None
    if budget is None or budget == limits.max_pixels:
        return limits
    if "max_pixels" not in limits.model_fields_set:
        return ImageLimits.model_validate({**limits.model_dump(), "max_pixels": budget})
    if strict:
        message = f"image.max_pixels={limits.max_pixels}: the model was trained with {budget}"
        raise UserError(message, hint=_OVERRIDE_HINT)
    return limits


def _resolve_prompt(
    field: str, task: str, settings: PredictorSettings, trained: TrainedAdapter
) -> str:
    """Return the prompt of a task: the given one if its digest was trained, else a trained one.

    A task without training keeps the default prompt.
    """
    current: str = getattr(settings, field)
    prompts = {name: _load_prompt(name) for name in trained.prompts}
    usable = [n for n, p in prompts.items() if p and p.task == task and not p.takes_label]
    missing = [n for n, p in prompts.items() if p is None]
    trained_prompts = ", ".join(f"{n}@{d[:8]}" for n, d in trained.prompts.items())
    if field in settings.model_fields_set:
        is_allowed = (
            not (usable or missing)
            or prompting.load_prompt(current).digest in trained.prompts.values()
        )
        if not is_allowed:
            raise UserError(
                f"{field}={current}: the model was trained with {trained_prompts}",
                hint=_OVERRIDE_HINT,
            )
        return current
    if missing and not usable and task == "aspect":
        raise UserError(f"the prompt {missing[0]} of the training is not here", hint=_PROMPT_HINT)
    if not usable:
        return current
    preferred = trained.inference.get(field)
    name = str(preferred) if preferred in usable else usable[0]
    chosen = prompts[name]
    if settings.adapter_settings == "strict" and chosen and chosen.digest != trained.prompts[name]:
        message = f"{field}: {chosen.identity} differs from the training: {trained_prompts}"
        raise UserError(message, hint=_PROMPT_HINT)
    return name


def _load_prompt(name: str) -> Prompt | None:
    try:
        return prompting.load_prompt(name)
    except UserError:
        return None
