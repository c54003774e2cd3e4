"""A predictor made of cues, a prompt and a backend: posts in, opinions out.

load_inputs (images) -> assign_aspects -> RequestBuilder (cues, prompt) -> backend -> parsing
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from pydantic import JsonValue

from gen_msa import prompting
from gen_msa.backends import Backend
from gen_msa.chat import Completion
from gen_msa.cues import CueSource, require_inside
from gen_msa.errors import UserError
from gen_msa.media import ImageLimits
from gen_msa.predictors.base import Continuation, Prediction, PredictorSettings, RequestPreview
from gen_msa.predictors.prompted.build_requests import (
    PostInputs,
    PostRejected,
    PromptRequest,
    RequestBuilder,
    Task,
    assign_aspects,
    load_inputs,
)
from gen_msa.prompting import Prompt
from gen_msa.types import Opinion, Post, Status

# Settings that a fine-tuned model brings along, and errors for settings that contradict them.

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
    if "cues" in inherited:
        brought = PredictorSettings.model_validate({"cues": inherited["cues"]}).cues
        require_inside(brought or {}, None, "the training of the model")
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
    prompts = {name: _load_prompt(name, digest) for name, digest in trained.prompts.items()}
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


def _load_prompt(name: str, digest: str) -> Prompt | None:
    """Return a prompt of the training: a packaged one, or a file with the text of the training.

    Another file of this machine that happens to have the name is not the prompt.
    """
    try:
        prompt = prompting.load_prompt(name)
    except UserError:
        return None
    return prompt if name in prompting.prompt_names() or prompt.digest == digest else None


_PERFORMANCE_OPTIONS = {
    *("batch_size", "timeout", "retries", "api_key_variable", "share_prefix", "send_to"),
    *("prices", "max_tokens_total", "max_cost"),
}
"""Backend options that change the speed of an answer, or whether there is one, not its content."""

_FILE_OPTIONS = {"adapter", "script"}
"""Backend options that name files; the revision of the backend has their digests."""
_PROMPT_FIELDS = ("prompt", "aspects_prompt", "overall_prompt", "reask_prompt")


class PromptedPredictor:
    """Asks a backend about each aspect of each post."""

    def __init__(
        self,
        backend: Backend,
        settings: PredictorSettings,
        media_root: Path,
        prompt: str = "predict/full",
    ) -> None:
        """Wrap a backend.

        Args:
            backend: The model.
            settings: All settings.
            media_root: Folder that image paths are relative to.
            prompt: The prompt if the settings name none.
        """
        self._backend = backend
        self._settings = settings.model_copy(update={"prompt": settings.prompt or prompt})
        self._root = media_root
        self._builders: dict[str, RequestBuilder] = {}
        self._builder_lock = threading.Lock()
        self._wrap_cue_source: Callable[[CueSource], CueSource] | None = None

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """Return one `Prediction` per post; aspects are found first if none are given."""
        return self.prepare(posts)()

    def prepare(self, posts: Sequence[Post]) -> Continuation:
        """Decode images, find aspects, write cues and prompts.

        Returns:
            A function that runs the model and returns one prediction per post.
        """
        predictions = [Prediction()] * len(posts)
        inputs: list[PostInputs] = []
        for row, post in enumerate(posts):
            try:
                inputs.append(load_inputs(row, post, self._root, self._settings))
            except PostRejected as e:
                predictions[row] = Prediction(rejection=e.reason, hint=e.hint)
        requests = self._build_requests(inputs)

        def finish() -> list[Prediction]:
            opinions_by_row: dict[int, list[Opinion]] = {
                post_inputs.row: [] for post_inputs in inputs
            }
            for request, opinions in zip(requests, self._complete(requests), strict=True):
                opinions_by_row[request.inputs.row].extend(opinions)
            for row, opinions in opinions_by_row.items():
                predictions[row] = Prediction(opinions=tuple(opinions))
            return predictions

        return finish

    def preview(self, posts: Sequence[Post]) -> list[RequestPreview]:
        """Return every request about `posts`, with its token count if the backend can tell.

        A post that would be rejected has none.
        """
        inputs: list[PostInputs] = []
        for row, post in enumerate(posts):
            with suppress(PostRejected):
                inputs.append(load_inputs(row, post, self._root, self._settings))
        return [self._preview(request) for request in self._build_requests(inputs)]

    @property
    def is_concurrent(self) -> bool:
        """Whether the backend gains by requests from several threads."""
        return bool(getattr(self._backend, "is_concurrent", False))

    @property
    def backend(self) -> Backend:
        """The model."""
        return self._backend

    def with_backend(self, backend: Backend) -> "PromptedPredictor":
        """Return this predictor with another backend around the same model; nothing is loaded."""
        clone = PromptedPredictor(backend, self._settings, self._root)
        clone._wrap_cue_source = self._wrap_cue_source
        return clone

    @property
    def settings(self) -> PredictorSettings:
        """All settings, including those of the training of the model."""
        return self._settings

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return model revision, prompts, cues and every setting that shapes an answer.

        `content` has the same without the names of model, prompts and files.
        """
        settings = self._settings
        roles = {role: str(getattr(settings, role)) for role in _PROMPT_FIELDS}
        prompts: dict[str, JsonValue] = {
            name: dict(self._builder(name).fingerprint()) for name in set(roles.values()) - {""}
        }
        excluded: dict[str, Any] = {"backend": _PERFORMANCE_OPTIONS}
        if not settings.pseudonymize:
            excluded["pseudonymize"] = True
        settings_dump = settings.model_dump(mode="json", exclude=excluded)
        named = {"model", "cues", *_PROMPT_FIELDS}
        answer_settings = {k: v for k, v in settings_dump.items() if k not in named}
        answer_settings["backend"] = {
            k: v for k, v in settings_dump["backend"].items() if k not in _FILE_OPTIONS
        }
        content: dict[str, JsonValue] = {
            "kind": settings.model.partition(":")[0],
            "revision": self._backend.revision,
            "settings": answer_settings,
            "prompts": {role: prompts.get(name, "") for role, name in roles.items()},
        }
        return {
            "settings": settings_dump,
            "revision": self._backend.revision,
            "prompts": prompts,
            "content": content,
        }

    def with_cues(self, wrap: Callable[[CueSource], CueSource]) -> "PromptedPredictor":
        """Return this predictor with each cue source replaced by `wrap(source)`.

        Nothing is loaded again.
        """
        clone = PromptedPredictor(self._backend, self._settings, self._root)
        clone._wrap_cue_source = wrap
        return clone

    def _build_requests(self, inputs: Sequence[PostInputs]) -> list[PromptRequest]:
        """Return all requests, grouped by post, in the order of posts."""
        settings = self._settings
        prompts: dict[Task, str] = {
            "aspect": settings.prompt,
            "aspects": settings.aspects_prompt,
            "overall": settings.overall_prompt,
        }
        with_tasks = assign_aspects(inputs, settings, lists_aspects=self._backend.can_list_aspects)
        requests: list[PromptRequest] = []
        for task, prompt in prompts.items():
            task_inputs = [post_inputs for post_inputs in with_tasks if post_inputs.task == task]
            requests += self._builder(prompt).build(task_inputs) if task_inputs else []
        return sorted(requests, key=lambda q: q.inputs.row)

    def _complete(self, requests: Sequence[PromptRequest]) -> list[list[Opinion]]:
        """Run the requests; ask once more where an answer cannot be parsed."""
        completions = self._backend.complete([request.request for request in requests])
        opinions = [
            self._parse(request, completion)
            for request, completion in zip(requests, completions, strict=True)
        ]
        unparsed = [i for i, request in enumerate(requests) if _needs_reask(request, opinions[i])]
        if unparsed and self._settings.reask_prompt:
            builder = self._builder(self._settings.reask_prompt)
            reask_requests = [_reask_request(builder, requests[i]) for i in unparsed]
            completions = self._backend.complete([request.request for request in reask_requests])
            for i, request, completion in zip(unparsed, reask_requests, completions, strict=True):
                opinions[i] = [_merge_reasked(opinions[i][0], self._parse(request, completion)[0])]
        return opinions

    def _parse(self, prompt_request: PromptRequest, completion: Completion) -> list[Opinion]:
        request, annotator = prompt_request, self._settings.model
        completion = request.restore(completion)
        provenance = {**request.provenance, **completion.notes}
        if completion.finish_reason == "error":
            provenance["error"] = completion.error
            return [
                Opinion(
                    annotator=annotator,
                    aspect=request.aspect,
                    status=Status.ERROR,
                    provenance=provenance,
                )
            ]
        cue_texts = request.cue_texts
        if request.prompt.task == "aspects":
            opinions = prompting.parse_aspects(
                request.prompt, completion, request.inputs.post, annotator, cue_texts
            )
        else:
            opinions = [
                prompting.parse_opinion(
                    request.prompt,
                    completion,
                    request.inputs.post,
                    request.aspect,
                    annotator,
                    cue_texts,
                )
            ]
        return [
            opinion.model_copy(update={"provenance": {**provenance, **opinion.provenance}})
            for opinion in opinions
        ]

    def _preview(self, request: PromptRequest) -> RequestPreview:
        count = self._backend.count_tokens(request.request.chat)
        return RequestPreview(
            post=request.inputs.post,
            aspect=request.aspect.term,
            images=tuple(f"{p.path} (≤ {p.max_pixels} px)" for p in request.request.chat.images),
            cues={slot: f"{cue.text} [{cue.source}]" for slot, cue in request.cues.items()},
            prompt=request.request.chat.as_text(),
            tokens=count.total if count else None,
            image_tokens=count.image if count else None,
            provenance=dict(request.provenance),
        )

    def _builder(self, prompt: str) -> RequestBuilder:
        with self._builder_lock:
            if prompt not in self._builders:
                supports_images = self._backend.supports_images and self._settings.images
                builder = RequestBuilder(
                    prompt, self._settings, self._root, supports_images=supports_images
                )
                self._builders[prompt] = (
                    builder.with_cues(self._wrap_cue_source) if self._wrap_cue_source else builder
                )
            return self._builders[prompt]


def _needs_reask(request: PromptRequest, opinions: list[Opinion]) -> bool:
    return request.prompt.task != "aspects" and opinions[0].status is Status.UNPARSED


def _reask_request(builder: RequestBuilder, request: PromptRequest) -> PromptRequest:
    return builder.build_one(request.inputs, request.aspect, request.cues)


def _merge_reasked(first: Opinion, second: Opinion) -> Opinion:
    """Return the first answer with the label of the second; the first alone if that failed too."""
    if second.polarity is None:
        return first
    raw = f"{first.raw or ''}\n---\n{second.raw or ''}"
    provenance = {**first.provenance, "reasked_with": second.provenance.get("prompt", "")}
    label = {"polarity": second.polarity, "probs": second.probs, "status": Status.REPARSED}
    return first.model_copy(update={**label, "raw": raw, "provenance": provenance})
