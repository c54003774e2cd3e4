"""The objects cue (TEMSA): names of the objects in an image, from a detector or a file.

Biswas, Young and Griffith, arXiv 2602.00360, found that all detected names are needed; hence the
policy `all`. The names are shown beside the text of the post, which does not change.

    cue_sources["objects"](ObjectCueOptions(file="objects.json")).cues(posts)
    # objects.json: {"17.jpg": [["dog", 0.98], ["frisbee", 0.71]], "18.jpg": ["car"]}

Without a file or a model, names come from `Post.meta["objects"]`. A name without a score has the
score 1.0. An image without detections gives an empty cue.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from gen_msa.cues import base
from gen_msa.cues.base import (
    ImageTable,
    content_text,
    cue_sources,
    digest,
    digest_model,
    load_image,
    post_images,
)
from gen_msa.errors import MissingExtra, UserError, user_errors
from gen_msa.media import ImageError
from gen_msa.safety_scan import scan_folder
from gen_msa.settings import Settings
from gen_msa.types import Cue, Post

if TYPE_CHECKING:
    from PIL.Image import Image


_DETECTOR_HINT = "name a folder with a detector's safetensors, or set a file of objects"


def load_detector(model: str) -> Callable[[Sequence["Image"]], list[list[tuple[str, float]]]]:
    """Load a detector by the name or folder of its safetensors weights, without remote code.

    Raises:
        MissingExtra: transformers is not installed.
        UserError: There is no such detector.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "builtin") from None
    with user_errors(f"the object detector {model}", "cannot be loaded", hint=_DETECTOR_HINT):
        folder = Path(model)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(model, local_files_only=True))
        scan_folder(folder, "model")
        detector = transformers.pipeline(
            "object-detection",
            model=str(folder),
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )

    def detect(images: Sequence["Image"]) -> list[list[tuple[str, float]]]:
        results = detector(list(images), batch_size=8)
        return [
            [(str(o["label"]), float(o["score"])) for o in detections] for detections in results
        ]

    return detect


Detection = tuple[str, float]
"""Name of an object and its score, 0 to 1."""

Detector = Callable[[Sequence["Image"]], list[list[Detection]]]
"""Returns the detections in each RGB image, in order."""


class ObjectCueOptions(Settings):
    """The source of the names, and which of them are shown."""

    file: Path | None = None
    """JSON: image or post id -> names, each a string or a pair `[name, score]`."""
    model: str = ""
    """A detector for the transformers pipeline `object-detection`; used without a file."""
    media_root: Path = Path()
    """The folder that `Media.path` is relative to, for the detector."""
    policy: Literal["all", "top-k", "unique", "threshold"] = "all"
    """`unique`: each name once. `top-k`, `threshold`: by `k` and `min_score`."""
    k: int = Field(default=5, ge=1)
    min_score: float = Field(default=0.5, ge=0.0, le=1.0)
    """Minimum score for the policy `threshold`, and for any detection of a model."""


@cue_sources.register
class ObjectCues:
    """Fills the slot `objects`; all aspects of a post get the same cue."""

    Options: ClassVar[type[Settings]] = ObjectCueOptions
    slot = "objects"

    def __init__(self, options: ObjectCueOptions, detector: Detector | None = None) -> None:
        """Store the options.

        Args:
            options: The options.
            detector: Replaces the pipeline of `options.model`.
        """
        if options.file is not None and (options.model or detector):
            raise UserError("objects come from a file or from a model, not both")
        self._options = options
        self._detector = detector
        self._entries: ImageTable[list[Detection]] | None = None

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """Return one cue for each aspect of each post.

        Raises:
            UserError: A file cannot be read.
        """
        posts_with_aspects = [p for p in posts if p.aspects]
        cue_by_post = {
            id(p): cue
            for p, cue in zip(posts_with_aspects, self._post_cues(posts_with_aspects), strict=True)
        }
        return [tuple(cue_by_post[id(p)] for _ in p.aspects) for p in posts]

    def fingerprint(self) -> str:
        """Return a hash of the options and the content of the file."""
        options = self._options.model_copy(update={"model": digest_model(self._options.model)})
        return digest("objects 2", content_text(options))

    def _post_cues(self, posts: Sequence[Post]) -> list[Cue]:
        if self._options.model or self._detector:
            return self._detect_cues(posts)
        if self._options.file is None:
            return [
                self._cue(_parse_detections(p.meta.get("objects")), "meta:objects") for p in posts
            ]
        if self._entries is None:
            self._entries = ImageTable(_load_detections(self._options.file))
        source = f"file:{self._options.file.name}"
        return [self._cue(self._entries.find(p), source) for p in posts]

    def _detect_cues(self, posts: Sequence[Post]) -> list[Cue]:
        """Detect objects in all images in one call; `Cue.source` names failed images."""
        if self._detector is None:
            self._detector = load_detector(self._options.model)
        images: list[Image] = []
        post_indices: list[int] = []
        image_errors: dict[int, str] = {}
        for i, media_item in [(i, m) for i, p in enumerate(posts) for m in post_images(p)]:
            try:
                images.append(load_image(media_item, self._options.media_root))
                post_indices.append(i)
            except ImageError as e:
                image_errors[i] = e.kind
        results = self._detector(images) if images else []
        by_post: list[list[Detection]] = [[] for _ in posts]
        for i, detections in zip(post_indices, results, strict=True):
            by_post[i] += [
                (name, score) for name, score in detections if score >= self._options.min_score
            ]
        source = f"detector:{self._options.model or 'injected'}"
        notes = [
            f": image {image_errors[i]}" if i in image_errors else "" for i in range(len(posts))
        ]
        return [self._cue(f, source + n) for f, n in zip(by_post, notes, strict=True)]

    def _cue(self, detections: list[Detection] | None, source: str) -> Cue:
        if detections is None:
            return Cue(text="", source=f"{source}: no entry")
        return Cue(text=", ".join(select_names(detections, self._options)), source=source)


def select_names(detections: Iterable[Detection], options: ObjectCueOptions) -> list[str]:
    """Return the names to show, by decreasing score, then by name.

    Args:
        detections: Names and scores.
        options: The policy.
    """
    ranked = sorted(detections, key=lambda f: (-f[1], f[0]))
    if options.policy == "threshold":
        ranked = [f for f in ranked if f[1] >= options.min_score]
    names = [" ".join(name.split()) for name, _ in ranked]
    if options.policy == "unique":
        names = list(dict.fromkeys(names))
    return [n for n in (names[: options.k] if options.policy == "top-k" else names) if n]


def _load_detections(path: Path) -> dict[str, list[Detection]]:
    value = base.load_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a mapping", hint='write {"image.jpg": [["dog", 0.98]]}')
    table = {}
    for key, entry in value.items():
        detections = _parse_detections(entry)
        if detections is None:
            hint = 'write a list of "name" or ["name", score]'
            raise UserError(f"{path}: the entry {key!r} is not a list of names", hint=hint)
        table[key] = detections
    return table


def _parse_detections(entry: Any) -> list[Detection] | None:
    """Return names with scores from JSON; None if it is not a list of names."""
    if not isinstance(entry, list):
        return None
    detections: list[Detection] = []
    for item in entry:
        match item:
            case str():
                detections.append((item, 1.0))
            case [str() as name, int() | float() as score]:
                detections.append((name, float(score)))
            case _:
                return None
    return detections
