"""A teacher that is given the gold label and writes only the rationale; train splits only.

Its label is gold's, not a prediction, and `provenance` says so.

    require_train_split("twitter2015:dev")          # UserError
    LabelConditionedTeacher(predictor, media_root).prepare(examples_with_gold)()
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from gen_msa import prompting
from gen_msa.backends import Backend, TokenCount
from gen_msa.chat import Chat, Completion, Request
from gen_msa.data.base import is_train_split
from gen_msa.data.label_leak import gold_labels
from gen_msa.errors import UserError
from gen_msa.predictors import Continuation, Prediction, RequestPreview
from gen_msa.predictors.prompted import (
    PostInputs,
    PostRejected,
    PromptedPredictor,
    PromptRequest,
    RequestBuilder,
    load_inputs,
)
from gen_msa.types import Aspect, Example, Opinion, Polarity, Status

TOKENS = "tokens"
"""Key in `Opinion.provenance`: `PROMPT+ANSWER`, the two token counts."""


_sampling_params: ContextVar[tuple[float, int]] = ContextVar(
    "temperature and seed", default=(0.0, 0)
)


@contextmanager
def sampling(*, temperature: float, seed: int) -> Iterator[None]:
    """Set temperature and seed for the requests of this thread inside the block.

    Args:
        temperature: 0 is greedy.
        seed: Seed of the sampler.

    Yields:
        Nothing; the values hold inside the block.
    """
    token = _sampling_params.set((temperature, seed))
    try:
        yield
    finally:
        _sampling_params.reset(token)


class SamplingBackend:
    """A backend that adds the temperature and seed of `sampling` to every request."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.samples = bool(getattr(backend, "samples", False))
        """Whether another seed can give another answer."""
        self.is_concurrent = bool(getattr(backend, "is_concurrent", False))
        self.revision = backend.revision
        self.supports_images = backend.supports_images
        self.can_list_aspects = backend.can_list_aspects

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order; `notes` gain tokens, seed, temperature."""
        temperature, seed = _sampling_params.get()
        sampling_params = {"temperature": temperature, "seed": seed}
        sampled_requests = (
            [r.model_copy(update=sampling_params) for r in requests] if self.samples else requests
        )
        notes = {k: str(v) for k, v in sampling_params.items()} if self.samples else {}
        return [_with_token_notes(c, notes) for c in self._backend.complete(sampled_requests)]

    def count_tokens(self, chat: Chat) -> TokenCount | None:
        """Return the token count of the wrapped backend."""
        return self._backend.count_tokens(chat)


def _with_token_notes(completion: Completion, notes: dict[str, str]) -> Completion:
    prompt_tokens, new_tokens = completion.prompt_tokens, completion.new_tokens
    if prompt_tokens or new_tokens:
        notes = {**notes, TOKENS: f"{prompt_tokens}+{new_tokens}"}
    return completion.model_copy(update={"notes": {**completion.notes, **notes}})


LABEL_SUFFIX = "_guided"
"""Suffix of the name of a prompt that takes the label, beside the prompt that asks for it."""


def require_train_split(source: str) -> None:
    """Raise `UserError` for a source that is not named as a train split."""
    if not is_train_split(source):
        raise UserError(
            f"{source} is not named as a train split, so that gold labels may not guide a teacher",
            hint="use DATASET:train, name the file e.g. posts.train.jsonl, or leave out guided",
        )


def label_conditioned_prompt(name: str) -> str:
    """Return the name of the prompt that takes the label: `name`, or `name` + `LABEL_SUFFIX`.

    Raises:
        UserError: Neither prompt takes a label.
    """
    if prompting.load_prompt(name).takes_label:
        return name
    if name + LABEL_SUFFIX in prompting.prompt_names():
        return name + LABEL_SUFFIX
    raise UserError(
        f"prompt {name} does not take a label", hint="guided needs e.g. teacher/rationale"
    )


class LabelConditionedTeacher:
    """Asks the model of a predictor why the gold label is correct."""

    def __init__(self, predictor: PromptedPredictor, media_root: Path) -> None:
        self._settings = predictor.settings
        self._backend = predictor.backend
        self._root = media_root
        supports_images = self._backend.supports_images and self._settings.images
        name = label_conditioned_prompt(self._settings.prompt)
        self._builder = RequestBuilder(
            name, self._settings, media_root, supports_images=supports_images
        )
        self.prompt = self._builder.prompt

    def prepare(self, examples: Sequence[Example]) -> Continuation:
        """Write the requests for all aspects with a gold polarity.

        Returns:
            A function that runs the model and returns one prediction per example.
        """
        predictions = [Prediction()] * len(examples)
        requests: list[PromptRequest] = []
        for row, example in enumerate(examples):
            try:
                inputs = load_inputs(row, example.post, self._root, self._settings)
            except PostRejected as e:
                predictions[row] = Prediction(rejection=e.reason, hint=e.hint)
            else:
                requests += self._build_requests(inputs, gold_labels(example))

        def finish() -> list[Prediction]:
            completions = self._backend.complete([request.request for request in requests])
            for request, completion in zip(requests, completions, strict=True):
                earlier_opinions = predictions[request.inputs.row].opinions
                predictions[request.inputs.row] = Prediction(
                    (*earlier_opinions, self._parse(request, completion))
                )
            return predictions

        return finish

    def preview(self, examples: Sequence[Example]) -> list[RequestPreview]:
        """Return the requests about the examples without running the model."""
        requests: list[PromptRequest] = []
        for row, example in enumerate(examples):
            with suppress(PostRejected):
                inputs = load_inputs(row, example.post, self._root, self._settings)
                requests += self._build_requests(inputs, gold_labels(example))
        return [self._preview(request) for request in requests]

    def _preview(self, request: PromptRequest) -> RequestPreview:
        count = self._backend.count_tokens(request.request.chat)
        return RequestPreview(
            post=request.inputs.post,
            aspect=request.aspect.term,
            images=tuple(p.path for p in request.request.chat.images),
            cues={slot: f"{cue.text} [{cue.source}]" for slot, cue in request.cues.items()},
            prompt=request.request.chat.as_text(),
            tokens=count.total if count else None,
            image_tokens=count.image if count else None,
            provenance=dict(request.provenance),
        )

    def _build_requests(
        self, inputs: PostInputs, labels: Mapping[Aspect, Polarity]
    ) -> list[PromptRequest]:
        post = inputs.post.model_copy(update={"aspects": tuple(labels)})
        labelled_inputs = replace(inputs, post=post)
        (cues_by_aspect,) = self._builder.write_cues([labelled_inputs])
        return [
            self._builder.build_one(labelled_inputs, aspect, cues, label)
            for (aspect, label), cues in zip(labels.items(), cues_by_aspect, strict=True)
        ]

    def _parse(self, request: PromptRequest, completion: Completion) -> Opinion:
        annotator = self._settings.model
        completion = request.restore(completion)
        provenance = {**request.provenance, **completion.notes, "guided": "gold gave the label"}
        if completion.finish_reason == "error":
            provenance["error"] = completion.error
            return Opinion(
                annotator=annotator,
                aspect=request.aspect,
                status=Status.ERROR,
                provenance=provenance,
            )
        opinion = prompting.parse_opinion(
            request.prompt,
            completion,
            request.inputs.post,
            request.aspect,
            annotator,
            request.cue_texts,
        )
        return opinion.model_copy(update={"provenance": {**provenance, **opinion.provenance}})
