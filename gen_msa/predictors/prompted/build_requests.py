"""Requests of prompted predictors: images checked, aspects chosen, cues written, prompts rendered.

builder = RequestBuilder("predict/full", settings, root, supports_images=True)
builder.build([load_inputs(0, post, root, settings)])
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, Self

from gen_msa import media, prompting
from gen_msa.chat import Completion, ImageInput, Request
from gen_msa.cues import CueSource, cue_sources
from gen_msa.errors import UserError
from gen_msa.language import resolve_language
from gen_msa.predictors.base import NOTHING_TO_JUDGE, PredictorSettings
from gen_msa.predictors.image_counts import note_path
from gen_msa.prompting import Prompt
from gen_msa.pseudonyms import Disguise, ItemKinds, NamesNotFindable, Pseudonymizer
from gen_msa.settings import build
from gen_msa.types import OVERALL_ASPECT, Aspect, Cue, Polarity, Post

Task = Literal["aspect", "aspects", "overall"]


class PostRejected(Exception):
    """A post that cannot be processed under the settings; others are not affected."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True)
class PostInputs:
    """A post with its checked images, its task, and provenance notes."""

    row: int
    post: Post
    images: tuple[ImageInput, ...] = ()
    task: Task = "aspect"
    provenance: Mapping[str, str] = field(default_factory=dict)
    disguise: Disguise | None = None
    """The placeholders of what is pseudonymized; None if nothing is."""

    @property
    def sent_post(self) -> Post:
        """Return the post as the model sees it."""
        return self.disguise.hide_post(self.post) if self.disguise else self.post


def load_inputs(row: int, post: Post, root: Path, settings: PredictorSettings) -> PostInputs:
    """Check the images of a post, and find what is to be pseudonymized.

    Args:
        row: Index of the post.
        post: The post.
        root: Folder that image paths are relative to.
        settings: `bad_image` decides whether a bad image is recorded, rejected or fatal;
            `language` is that of the post, or `auto`.

    Returns:
        The post with its checked images and its language (`provenance["language"]`).

    Raises:
        PostRejected: A bad image, with `bad_image=drop`; neither text nor an image; or names that
            cannot be found in the post's language, with `pseudonymize=[names]`.
        UserError: A bad image, with `bad_image=fail`.
    """
    images: list[ImageInput] = []
    problems: list[str] = []
    provenance = {"language": resolve_language(settings.language, post.text)}
    for media_item in post.media:
        if media_item.kind != "image":
            provenance[media_item.kind] = "not shown"
            continue
        try:
            image = media.open_image(media_item, root, settings.image)
        except media.ImageError as error:
            if settings.bad_image == "fail":
                raise UserError(f"post {post.id!r}: {error}") from None
            if settings.bad_image == "drop":
                raise PostRejected(f"image {media_item.path}: {error.reason}", error.hint) from None
            problems.append(f"{error.kind}: {note_path(media_item.path)}")
        else:
            images.append(image)
            provenance |= media.conversion_notes(image)
    if problems:
        provenance["image"] = f"{'; '.join(problems)}; read from text"
    if not post.text.strip() and not (images and settings.images):
        raise PostRejected(NOTHING_TO_JUDGE.rejection, NOTHING_TO_JUDGE.hint)
    disguise = _disguise_post(post, settings.pseudonymize, provenance["language"])
    if disguise is not None and disguise.counts:
        provenance["pseudonymized"] = disguise.counts
    return PostInputs(row, post, tuple(images), provenance=provenance, disguise=disguise)


def _disguise_post(post: Post, kinds: ItemKinds, language: str) -> Disguise | None:
    if not kinds:
        return None
    terms = [aspect.term for aspect in post.aspects]
    try:
        return _pseudonymizer(kinds).disguise(post.text, terms, language)
    except NamesNotFindable as e:
        raise PostRejected(str(e), e.hint) from None


@lru_cache(maxsize=8)
def _pseudonymizer(kinds: ItemKinds) -> Pseudonymizer:
    return Pseudonymizer(kinds)


def assign_aspects(
    inputs: Sequence[PostInputs], settings: PredictorSettings, *, lists_aspects: bool
) -> list[PostInputs]:
    """Decide which aspects of each post are asked about, and record their source.

    The source is in `provenance["aspect_source"]`.

    Args:
        inputs: The posts.
        settings: `aspects` decides.
        lists_aspects: Whether the model is strong enough to list aspects.

    Returns:
        The posts with aspects and task.
    """
    sources = [_aspect_source(post_inputs.post, settings, lists_aspects) for post_inputs in inputs]
    to_parse = [
        post_inputs.post
        for post_inputs, source in zip(inputs, sources, strict=True)
        if source == "parse"
    ]
    candidates = iter(_parse_candidates(to_parse, settings.language))
    return [
        _apply_aspects(
            post_inputs,
            source,
            next(candidates) if source == "parse" else post_inputs.post.aspects,
            settings.language,
        )
        for post_inputs, source in zip(inputs, sources, strict=True)
    ]


def _aspect_source(post: Post, settings: PredictorSettings, lists_aspects: bool) -> str:
    if settings.aspects != "auto":
        return settings.aspects
    if post.aspects:
        return "given"
    return "model" if lists_aspects else "parse"


def _apply_aspects(
    inputs: PostInputs, source: str, aspects: tuple[Aspect, ...], language: str
) -> PostInputs:
    if source == "model":
        return replace(
            inputs, task="aspects", provenance={**inputs.provenance, "aspect_source": "model"}
        )
    if source == "overall" or not aspects or aspects == (OVERALL_ASPECT,):
        # A requested overall opinion and a post without any aspect differ.
        if source == "overall" or aspects:
            aspect_source = source
        elif source == "parse" and (code := _language_without_parser(inputs.post, language)):
            aspect_source = f"overall: no parser for {code}"
        else:
            aspect_source = f"overall: {source} found none"
        post = inputs.post.model_copy(update={"aspects": (OVERALL_ASPECT,)})
        return replace(
            inputs,
            post=post,
            task="overall",
            provenance={**inputs.provenance, "aspect_source": aspect_source},
        )
    post = inputs.post.model_copy(update={"aspects": aspects})
    return replace(inputs, post=post, provenance={**inputs.provenance, "aspect_source": source})


def _parse_candidates(posts: list[Post], language: str) -> list[tuple[Aspect, ...]]:
    if not posts:
        return []
    from gen_msa.cues.parsing import aspect_candidates

    return aspect_candidates(posts, language=language)


def _language_without_parser(post: Post, language: str) -> str:
    """Return the language of a post that no installed parser supports; "" if one does."""
    from gen_msa.cues.parsing.aspect_candidates import candidate_model

    has_parser = candidate_model(post.text, language) is not None
    return "" if has_parser else resolve_language(language, post.text)


class AspectSelection(NamedTuple):
    """The aspects of one post, and where they come from (`provenance["aspect_source"]`)."""

    aspects: tuple[Aspect, ...]
    source: str
    language: str
    """The language of the post (`provenance["language"]`)."""


def select_aspects(posts: Sequence[Post], settings: PredictorSettings) -> list[AspectSelection]:
    """Return the aspects of each post; `OVERALL_ASPECT` alone if it has none.

    Args:
        posts: The posts.
        settings: `aspects` decides.

    Raises:
        UserError: `aspects=model`, for a predictor that cannot list aspects.
    """
    if settings.aspects == "model":
        raise UserError(
            f"{settings.model} cannot list aspects", hint="use aspects=parse, given or overall"
        )
    inputs = [PostInputs(row, post) for row, post in enumerate(posts)]
    assigned = assign_aspects(inputs, settings, lists_aspects=False)
    return [
        AspectSelection(
            s.post.aspects,
            s.provenance["aspect_source"],
            resolve_language(settings.language, s.post.text),
        )
        for s in assigned
    ]


@dataclass(frozen=True)
class PromptRequest:
    """One request, and what is needed to parse its answer."""

    inputs: PostInputs
    prompt: Prompt
    aspect: Aspect
    cues: Mapping[str, Cue]
    request: Request
    provenance: Mapping[str, str]

    def restore(self, completion: Completion) -> Completion:
        """Return an answer with what was pseudonymized in the request; an error stays as it is."""
        disguise = self.inputs.disguise
        if disguise is None:
            return completion
        return completion.model_copy(update={"text": disguise.restore(completion.text)})

    @property
    def cue_texts(self) -> list[str]:
        """Return the texts of the cues, with what was pseudonymized in them."""
        restore = self.inputs.disguise.restore if self.inputs.disguise else str
        return [restore(cue.text) for cue in self.cues.values()]


class RequestBuilder:
    """Builds the requests of one task from a prompt and the cue sources of its slots."""

    def __init__(
        self, prompt: str, settings: PredictorSettings, media_root: Path, *, supports_images: bool
    ) -> None:
        """Load the prompt and the cue sources.

        Args:
            prompt: Name or path of the prompt.
            settings: Cues and limits.
            media_root: Folder that image paths are relative to.
            supports_images: Whether the model takes images.

        Raises:
            UserError: The prompt is a judge's, or has no slot for a requested cue.
        """
        self.prompt = prompting.load_prompt(prompt)
        if settings.pseudonymize:
            _pseudonymizer(settings.pseudonymize)  # names what is not installed
        if self.prompt.task == "judge":
            raise UserError(f"prompt {prompt} is for judges", hint="choose one of predict/")
        self._max_new_tokens = settings.max_new_tokens
        self._explanations = settings.explanations
        self._supports_images = supports_images
        self._cue_sources = _build_cue_sources(self.prompt, settings, media_root)
        self._cue_lock = threading.Lock()
        """Detectors behind cue sources are not thread-safe; a job prepares chunks in a thread."""

    def with_cues(self, wrap: Callable[[CueSource], CueSource]) -> Self:
        """Replace each cue source by `wrap(source)`; return self."""
        self._cue_sources = [wrap(source) for source in self._cue_sources]
        return self

    def build(self, inputs: Sequence[PostInputs]) -> list[PromptRequest]:
        """Return the requests about each post, in order: one per aspect, or one joint request."""
        if self.prompt.task == "aspects":
            return [self.build_one(post_inputs, OVERALL_ASPECT, {}) for post_inputs in inputs]
        return [
            self.build_one(post_inputs, aspect, aspect_cues)
            for post_inputs, post_cues in zip(inputs, self.write_cues(inputs), strict=True)
            for aspect, aspect_cues in zip(post_inputs.post.aspects, post_cues, strict=True)
        ]

    def write_cues(self, inputs: Sequence[PostInputs]) -> list[list[dict[str, Cue]]]:
        """Return for each post, and each of its aspects, the cues by slot."""
        with self._cue_lock:
            posts = [post_inputs.sent_post for post_inputs in inputs]
            cues_by_slot = [(source.slot, source.cues(posts)) for source in self._cue_sources]
        return [
            [
                {slot: cue_rows[i][j] for slot, cue_rows in cues_by_slot}
                for j in range(len(post_inputs.post.aspects))
            ]
            for i, post_inputs in enumerate(inputs)
        ]

    def build_one(
        self,
        inputs: PostInputs,
        aspect: Aspect,
        aspect_cues: Mapping[str, Cue],
        label: Polarity | None = None,
    ) -> PromptRequest:
        """Build one request from written cues.

        Args:
            inputs: The post.
            aspect: The aspect.
            aspect_cues: Slot -> cue.
            label: For prompts that take the label.

        Returns:
            The request.
        """
        aspect_cues = {slot: aspect_cues[slot] for slot in self.prompt.slots if slot in aspect_cues}
        images = inputs.images if self._supports_images else ()
        provenance = {**inputs.provenance, "prompt": self.prompt.identity}
        if inputs.images and not images:
            provenance["image"] = "not shown: the model takes text only"
        provenance |= {f"cue_source.{slot}": cue.source for slot, cue in aspect_cues.items()}
        sent_aspect = aspect
        if inputs.disguise is not None:
            sent_aspect = inputs.disguise.hide_aspect(aspect)
            # Not every cue is written about the post that was sent: captions come from files.
            aspect_cues = {
                slot: cue.model_copy(update={"text": inputs.disguise.hide(cue.text)})
                for slot, cue in aspect_cues.items()
            }
        rendered_aspect = None if self.prompt.task == "aspects" else sent_aspect
        request = prompting.render(
            self.prompt, inputs.sent_post, rendered_aspect, aspect_cues, images, label=label
        )
        if not self._explanations:
            request = prompting.without_explanation(self.prompt, request)
        if self._max_new_tokens:
            request = request.model_copy(update={"max_new_tokens": self._max_new_tokens})
        return PromptRequest(inputs, self.prompt, aspect, aspect_cues, request, provenance)

    def fingerprint(self) -> dict[str, str]:
        """Return the digest of the prompt and the fingerprints of the cue sources."""
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
            # A source that opens images itself uses the media root of the job by default.
            options = {"media_root": root, **options}
        if "language" in source_type.Options.model_fields:
            options = {"language": settings.language, **options}
        source = source_type(build(source_type.Options, options, f"cues.{name}"))
        if source.slot in prompt.slots:
            built_sources.append(source)
        elif prompt.name == settings.prompt:
            # Other prompts (overall, aspects) leave out cues that they have no slot for.
            slots = ", ".join(prompt.slots) or "none"
            raise UserError(f"{prompt.name} has no slot {source.slot!r}; its slots: {slots}")
    return built_sources
