"""The protocol of predictors, their settings and results, the registry, and how one is made.

predictor.predict(posts)          # one Prediction per post: opinions, or why there are none
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

from pydantic import Field, JsonValue

from gen_msa.backends import BackendOptions, backends
from gen_msa.errors import UserError, did_you_mean
from gen_msa.language import AUTO, LanguageSetting
from gen_msa.media import ImageLimits
from gen_msa.pseudonyms import ItemKinds
from gen_msa.registry import Registry
from gen_msa.settings import Settings
from gen_msa.types import Opinion, Post


class PredictorSettings(Settings):
    """All settings that decide the predictions."""

    model: str = "builtin"
    """`builtin`, `echo`, `student:DIR`, `recorded:FILE`, or `BACKEND:TARGET`."""
    prompt: str = ""
    """Name of a packaged prompt, or the path of a `.jinja` file. Empty: the default of the model,
    `predict/shots` for `builtin` and `predict/full` for the others.
    """
    aspects: Literal["auto", "given", "model", "parse", "overall"] = "auto"
    """Where aspects come from. `auto`: the given ones; without any, the model lists them (`model`),
    or the parse gives candidates if the model is too weak for that (`parse`).
    """
    aspects_prompt: str = "predict/aspects"
    overall_prompt: str = "predict/overall"
    reask_prompt: str = "predict/reask"
    """Asked once when an answer cannot be parsed; empty for never."""
    language: LanguageSetting = AUTO
    """The language of all posts (`en`, `es`, …); `auto` detects it post by post. It decides which
    parser writes cues and proposes aspects; `provenance["language"]` names it.
    """
    cues: dict[str, dict[str, Any]] | None = None
    """Cue source -> its options. None: every source whose slot the prompt has, with defaults;
    `{}`: no cues.
    """
    max_new_tokens: int | None = Field(default=None, gt=0)
    """Overrides the limit of the prompt."""
    explanations: bool = True
    """Whether answers are explained. Without, a student does not look for the words that carry its
    answer, which is some fifteen times as fast, and a language model writes nothing after the
    label, except where its prompt has it reason first.
    """
    bad_image: Literal["text-only", "drop", "fail"] = "text-only"
    """What to do with a post whose image is missing, broken or not allowed."""
    images: bool = True
    """Show images to a model that takes them; otherwise it gets text and cues alone."""
    image: ImageLimits = ImageLimits()
    pseudonymize: ItemKinds = ()
    """What a model sees a placeholder for, and the opinions have back: `[handles, names, urls,
    emails, phones]`, some of them, or `all`. Images are shown as they are; see `images`.
    """
    adapter_settings: Literal["strict", "override"] = "strict"
    """A fine-tuned model brings the prompt, cues and image budget of its training, used unless set
    otherwise. `strict`: other settings are an error; `override`: they are used.
    """
    backend: BackendOptions = BackendOptions()

    def labels_only(self) -> Self:
        """Return settings for labels alone: explanations change no label and cost most time."""
        return self.model_copy(update={"explanations": False})


@dataclass(frozen=True)
class Prediction:
    """The opinions about one post, or the reason why it was rejected."""

    opinions: tuple[Opinion, ...] = ()
    rejection: str = ""
    hint: str = ""


NOTHING_TO_JUDGE = Prediction(
    rejection="the post has no text, and no image of it was seen",
    hint="give it a text, or an image that can be read",
)
"""A model that is asked about nothing invents an opinion."""


@dataclass(frozen=True)
class RequestPreview:
    """One request as it would be sent to the model."""

    post: Post
    aspect: str
    images: tuple[str, ...]
    cues: dict[str, str]
    prompt: str
    tokens: int | None
    image_tokens: int | None
    provenance: dict[str, str]


class Predictor(Protocol):
    """Adds opinions to posts."""

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """Return one `Prediction` per post, in order. A bad post does not affect the others."""
        ...

    def preview(self, posts: Sequence[Post]) -> list[RequestPreview]:
        """Return the first requests of `predict` without running the model."""
        ...

    def fingerprint(self) -> dict[str, JsonValue]:
        """Return what changes whenever predictions could; part of the cache key."""
        ...


Continuation = Callable[[], list[Prediction]]
"""The rest of a prepared prediction: runs the model."""


@runtime_checkable
class Prefetchable(Protocol):
    """A predictor that can do the first part of its work ahead, in another thread."""

    def prepare(self, posts: Sequence[Post]) -> Continuation:
        """Do all of `predict(posts)` that needs no model; return a function that does the rest."""
        ...


def prepare(predictor: Predictor, posts: Sequence[Post]) -> Continuation:
    """Do what `predictor` can of `predict(posts)` without its model.

    Args:
        predictor: Any predictor.
        posts: The posts.

    Returns:
        A function that completes the prediction.
    """
    return (
        predictor.prepare(posts)
        if isinstance(predictor, Prefetchable)
        else lambda: predictor.predict(posts)
    )


def is_concurrent(predictor: Predictor) -> bool:
    """Return whether several threads may call the predictor at once and gain by it (servers)."""
    return bool(getattr(predictor, "is_concurrent", False))


def is_thread_safe(predictor: Predictor) -> bool:
    """Return whether several threads may call the predictor at once, whether or not they gain."""
    return is_concurrent(predictor) or bool(getattr(predictor, "is_thread_safe", False))


class PredictorFactory(Protocol):
    """What a module of this package registers."""

    def __call__(self, target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
        """Build the predictor and load its model.

        Args:
            target: What follows the colon of the name.
            settings: All settings.
            media_root: Folder that image paths are relative to.
        """
        ...


predictors: Registry[PredictorFactory] = Registry(
    "model", "gen_msa.predictors", "gen_msa.predictors"
)


# Build predictors from settings: a registered one, or any backend with a prompt.


def names() -> list[str]:
    """Return every name that may stand before the colon: predictors and backends."""
    return sorted({*predictors.names(), *backends.names()})


def make(settings: PredictorSettings, media_root: Path) -> Predictor:
    """Build the predictor that `settings.model` names, and load its model.

    Args:
        settings: All settings.
        media_root: Folder that image paths are relative to.

    Returns:
        The predictor.

    Raises:
        UserError: The name is unknown.
        MissingExtra: A package that it needs is not installed.
    """
    name, _, target = settings.model.partition(":")
    if name in predictors:
        return predictors[name](target, settings, media_root)
    if name not in backends:
        raise UserError(f"no model named {name!r}", hint=did_you_mean(name, names()))
    from gen_msa.predictors.prompted import PromptedPredictor, apply_training_settings

    backend = backends[name](target, settings.backend)
    # Only a backend that holds the weights can know how they were trained.
    settings = apply_training_settings(settings, getattr(backend, "training_metadata", None))
    return PromptedPredictor(backend, settings, media_root)
