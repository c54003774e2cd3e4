"""The objects cue (TEMSA): names of what a picture shows, as a detector or a file lists them.

Biswas, Young and Griffith, arXiv 2602.00360, who found that all detected names are needed; hence
the policy `all`. Names stand beside the post's text and never in its place: the text is not
touched. Knows nothing of prompts, or of which reader is asked.

    cues["objects"](ObjectsOptions(file="objects.json")).cues(posts)
    # objects.json: {"17.jpg": [["dog", 0.98], ["frisbee", 0.71]], "18.jpg": ["car"]}

Without a file or a model, names come from `Post.meta["objects"]`. A name without a score counts as
certain (1.0). Nothing detected gives an empty cue.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from gen_msa.cues import _inputs
from gen_msa.cues._inputs import ImageTable, digest, digest_file, load_image, post_images
from gen_msa.cues.base import cue_sources
from gen_msa.errors import MissingExtra, UserError
from gen_msa.media import ImageError
from gen_msa.settings import Settings
from gen_msa.types import Cue, Post

# An object detector from transformers, loaded on first use.

if TYPE_CHECKING:
    from PIL.Image import Image


def load_detector(model: str) -> Callable[[Sequence["Image"]], list[list[tuple[str, float]]]]:
    """A detector by the name or folder of its weights: safetensors only, no code of its own."""
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "builtin") from None
    try:
        detector = transformers.pipeline(
            "object-detection",
            model=model,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as e:
        raise UserError(f"no object detector {model!r}: {e}", hint="name one, or a file") from None

    def detect(images: Sequence["Image"]) -> list[list[tuple[str, float]]]:
        results = detector(list(images), batch_size=8)
        return [
            [(str(o["label"]), float(o["score"])) for o in detections] for detections in results
        ]

    return detect


if TYPE_CHECKING:
    from PIL.Image import Image

Detection = tuple[str, float]
"""An object's name and the detector's score, 0 to 1."""

Detector = Callable[[Sequence["Image"]], list[list[Detection]]]
"""For each RGB picture, in order, what was found in it."""


class ObjectCueOptions(Settings):
    """Where names come from, and which of them are shown."""

    file: Path | None = None
    """JSON: picture or post id -> names, each a string or a pair `[name, score]`."""
    model: str = ""
    """A detector for the transformers pipeline `object-detection`; used when there is no file."""
    media_root: Path = Path()
    """Where the detector finds `Media.path`."""
    policy: Literal["all", "top-k", "unique", "threshold"] = "all"
    """`unique`: each name once. `top-k`, `threshold`: by `k` and `least`."""
    k: int = Field(default=5, ge=1)
    min_score: float = Field(default=0.5, ge=0.0, le=1.0)
    """The least score for the policy `threshold`, and for a detector's answer to count at all."""


@cue_sources.register
class ObjectCues:
    """Fills the slot `objects`; all aspects of a post get the same cue."""

    Options: ClassVar[type[Settings]] = ObjectCueOptions
    slot = "objects"

    def __init__(self, options: ObjectCueOptions, detector: Detector | None = None) -> None:
        """`detect` stands in for the pipeline that `options.model` names."""
        if options.file is not None and (options.model or detector):
            raise UserError("objects come from a file or from a model, not both")
        self._options = options
        self._detector = detector
        self._entries: ImageTable[list[Detection]] | None = None

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """One cue an aspect. Raises `UserError` for a file that cannot be read."""
        posts_with_aspects = [p for p in posts if p.aspects]
        cue_by_post = {
            id(p): cue
            for p, cue in zip(posts_with_aspects, self._post_cues(posts_with_aspects), strict=True)
        }
        return [tuple(cue_by_post[id(p)] for _ in p.aspects) for p in posts]

    def fingerprint(self) -> str:
        """Of the options and the file's bytes."""
        file = digest_file(self._options.file) if self._options.file else ""
        return digest("objects 1", self._options.model_dump_json(), file)

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
        """All pictures of all posts in one call; what could not be opened is said in the source."""
        if self._detector is None:
            self._detector = load_detector(self._options.model)
        pictures: list[Image] = []
        post_indices: list[int] = []
        image_errors: dict[int, str] = {}
        for i, media_item in [(i, m) for i, p in enumerate(posts) for m in post_images(p)]:
            try:
                pictures.append(load_image(media_item, self._options.media_root))
                post_indices.append(i)
            except ImageError as e:
                image_errors[i] = e.kind
        results = self._detector(pictures) if pictures else []
        by_post: list[list[Detection]] = [[] for _ in posts]
        for i, detections in zip(post_indices, results, strict=True):
            by_post[i] += [
                (name, score) for name, score in detections if score >= self._options.min_score
            ]
        source = f"detector:{self._options.model or 'given'}"
        notes = [
            f": picture {image_errors[i]}" if i in image_errors else "" for i in range(len(posts))
        ]
        return [self._cue(f, source + n) for f, n in zip(by_post, notes, strict=True)]

    def _cue(self, detections: list[Detection] | None, source: str) -> Cue:
        if detections is None:
            return Cue(text="", source=f"{source}: no entry")
        return Cue(text=", ".join(select_names(detections, self._options)), source=source)


def select_names(detections: Iterable[Detection], options: ObjectCueOptions) -> list[str]:
    """The names to show: by falling score, then by name."""
    ranked = sorted(detections, key=lambda f: (-f[1], f[0]))
    if options.policy == "threshold":
        ranked = [f for f in ranked if f[1] >= options.min_score]
    names = [" ".join(name.split()) for name, _ in ranked]
    if options.policy == "unique":
        names = list(dict.fromkeys(names))
    return [n for n in (names[: options.k] if options.policy == "top-k" else names) if n]


def _load_detections(path: Path) -> dict[str, list[Detection]]:
    value = _inputs.load_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no map", hint='write {"picture.jpg": [["dog", 0.98]]}')
    table = {}
    for key, entry in value.items():
        detections = _parse_detections(entry)
        if detections is None:
            hint = 'write a list of "name" or ["name", score]'
            raise UserError(f"{path}: the entry {key!r} is no list of names", hint=hint)
        table[key] = detections
    return table


def _parse_detections(entry: Any) -> list[Detection] | None:
    """Names with scores from JSON; None when it is no list of names."""
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
