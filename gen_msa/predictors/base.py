"""What a reader is, its settings and what it gives back, and the registry of readers.

Knows no reader. `factory.make` makes one.

    reader.read(posts)          # for each post a Reading: opinions, or why there are none
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

from pydantic import Field, JsonValue

from gen_msa.backends import BackendOptions
from gen_msa.media import ImageLimits
from gen_msa.registry import Registry
from gen_msa.settings import Settings
from gen_msa.types import Opinion, Post


class PredictorSettings(Settings):
    """Everything that decides what a reader says."""

    model: str = "builtin"
    """`builtin`, `echo`, `recorded:PATH`, or `BACKEND:TARGET`."""
    prompt: str = ""
    """A shipped prompt's name or the path of your own `.jinja`. Empty: the reader's own choice,
    `predict/shots` for `builtin` and `predict/full` for the others."""
    aspects: Literal["auto", "given", "model", "parse", "overall"] = "auto"
    """Where aspects come from. `auto`: those given; else the reader's own list, or candidates from
    the parse when the reader is too weak for that."""
    aspects_prompt: str = "predict/aspects"
    overall_prompt: str = "predict/overall"
    reask_prompt: str = "predict/reask"
    """Asked once when an answer could not be read; empty for never."""
    cues: dict[str, dict[str, Any]] | None = None
    """Cue source -> its options. None: every source whose slot the prompt has, with its defaults;
    `{}`: no cue at all."""
    max_new_tokens: int | None = Field(default=None, gt=0)
    """Overrides the prompt's own limit."""
    explanations: bool = True
    """A student says which words carry its answer, and a reason made of them. Without, it says
    polarity and probabilities alone, some fifteen times as fast."""
    bad_image: Literal["text-only", "drop", "fail"] = "text-only"
    """What to do with a post whose picture is missing, broken or refused."""
    images: bool = True
    """Show pictures to a reader that sees them; without, it reads text and cues alone."""
    image: ImageLimits = ImageLimits()
    adapter_settings: Literal["strict", "override"] = "strict"
    """A fine-tuned model brings the prompt, cues and picture budget it was trained with, used where
    you give none. `keep`: giving others is an error; `override`: yours win."""
    backend: BackendOptions = BackendOptions()

    def labels_only(self) -> Self:
        """The same for who looks at labels alone: a student without its reasons, which cost it most
        of its time and change no label.
        """
        is_student = self.model.startswith("student:")
        return self.model_copy(update={"explanations": False}) if is_student else self


@dataclass(frozen=True)
class Prediction:
    """What a reader made of one post: its opinions, or the reason the post was set aside."""

    opinions: tuple[Opinion, ...] = ()
    rejection: str = ""
    hint: str = ""


@dataclass(frozen=True)
class RequestPreview:
    """One question as it would be asked, before anything is spent."""

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
        """One `Reading` for each post, in order. A post it cannot read does not stop the others."""
        ...

    def preview(self, posts: Sequence[Post]) -> list[RequestPreview]:
        """The questions `read` would ask first, unasked."""
        ...

    def fingerprint(self) -> dict[str, JsonValue]:
        """Named parts that change whenever the reader's answers could; the ledger's key."""
        ...


Continuation = Callable[[], list[Prediction]]
"""What is left of a reading once it is prepared: its model is asked."""


@runtime_checkable
class Prefetchable(Protocol):
    """A reader that can do the first part of its work ahead, in another thread."""

    def prepare(self, posts: Sequence[Post]) -> Continuation:
        """All of `read(posts)` that needs no model; what comes back does the rest."""
        ...


def prepare(predictor: Predictor, posts: Sequence[Post]) -> Continuation:
    """What `reader` can do of `read(posts)` ahead of its model; calling what comes back ends it."""
    return (
        predictor.prepare(posts)
        if isinstance(predictor, Prefetchable)
        else lambda: predictor.predict(posts)
    )


def is_concurrent(predictor: Predictor) -> bool:
    """Whether `reader` may read in several threads at once, and gains by it: who asks a server."""
    return bool(getattr(predictor, "is_concurrent", False))


class PredictorFactory(Protocol):
    """What a module of this room registers; `target` is what follows the colon."""

    def __call__(self, target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
        """Make the reader; loads its model."""
        ...


predictors: Registry[PredictorFactory] = Registry(
    "model", "gen_msa.predictors", "gen_msa.predictors"
)
