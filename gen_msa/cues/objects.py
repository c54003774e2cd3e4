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

from gen_msa.cues import _files
from gen_msa.cues._digest import digest, digest_file
from gen_msa.cues._pictures import ByPicture, images, look
from gen_msa.cues.base import cues
from gen_msa.errors import UserError
from gen_msa.media import PictureProblem
from gen_msa.settings import Settings
from gen_msa.types import Cue, Post

if TYPE_CHECKING:
    from PIL.Image import Image

Found = tuple[str, float]
"""An object's name and the detector's score, 0 to 1."""

Detector = Callable[[Sequence["Image"]], list[list[Found]]]
"""For each RGB picture, in order, what was found in it."""


class ObjectsOptions(Settings):
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
    least: float = Field(default=0.5, ge=0.0, le=1.0)
    """The least score for the policy `threshold`, and for a detector's answer to count at all."""


@cues.register
class Objects:
    """Fills the slot `objects`; all aspects of a post get the same cue."""

    Options: ClassVar[type[Settings]] = ObjectsOptions
    slot = "objects"

    def __init__(self, options: ObjectsOptions, detect: Detector | None = None) -> None:
        """`detect` stands in for the pipeline that `options.model` names."""
        if options.file is not None and (options.model or detect):
            raise UserError("objects come from a file or from a model, not both")
        self._options = options
        self._detect = detect
        self._table: ByPicture[list[Found]] | None = None

    def cues(self, posts: Sequence[Post]) -> list[tuple[Cue, ...]]:
        """One cue an aspect. Raises `UserError` for a file that cannot be read."""
        wanted = [p for p in posts if p.aspects]
        found = {id(p): cue for p, cue in zip(wanted, self._of(wanted), strict=True)}
        return [tuple(found[id(p)] for _ in p.aspects) for p in posts]

    def fingerprint(self) -> str:
        """Of the options and the file's bytes."""
        file = digest_file(self._options.file) if self._options.file else ""
        return digest("objects 1", self._options.model_dump_json(), file)

    def _of(self, posts: Sequence[Post]) -> list[Cue]:
        if self._options.model or self._detect:
            return self._detected(posts)
        if self._options.file is None:
            return [self._cue(_named(p.meta.get("objects")), "meta:objects") for p in posts]
        if self._table is None:
            self._table = ByPicture(_table(self._options.file))
        source = f"file:{self._options.file.name}"
        return [self._cue(self._table.find(p), source) for p in posts]

    def _detected(self, posts: Sequence[Post]) -> list[Cue]:
        """All pictures of all posts in one call; what could not be opened is said in the source."""
        if self._detect is None:
            from gen_msa.cues._detector import pipeline

            self._detect = pipeline(self._options.model)
        pictures: list[Image] = []
        owners: list[int] = []
        unread: dict[int, str] = {}
        for i, medium in [(i, m) for i, p in enumerate(posts) for m in images(p)]:
            try:
                pictures.append(look(medium, self._options.media_root))
                owners.append(i)
            except PictureProblem as e:
                unread[i] = e.kind
        answers = self._detect(pictures) if pictures else []
        by_post: list[list[Found]] = [[] for _ in posts]
        for i, answer in zip(owners, answers, strict=True):
            by_post[i] += [(name, score) for name, score in answer if score >= self._options.least]
        source = f"detector:{self._options.model or 'given'}"
        notes = [f": picture {unread[i]}" if i in unread else "" for i in range(len(posts))]
        return [self._cue(f, source + n) for f, n in zip(by_post, notes, strict=True)]

    def _cue(self, found: list[Found] | None, source: str) -> Cue:
        if found is None:
            return Cue(text="", source=f"{source}: no entry")
        return Cue(text=", ".join(chosen(found, self._options)), source=source)


def chosen(found: Iterable[Found], options: ObjectsOptions) -> list[str]:
    """The names to show: by falling score, then by name."""
    order = sorted(found, key=lambda f: (-f[1], f[0]))
    if options.policy == "threshold":
        order = [f for f in order if f[1] >= options.least]
    names = [" ".join(name.split()) for name, _ in order]
    if options.policy == "unique":
        names = list(dict.fromkeys(names))
    return [n for n in (names[: options.k] if options.policy == "top-k" else names) if n]


def _table(path: Path) -> dict[str, list[Found]]:
    value = _files.load(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no map", mend='write {"picture.jpg": [["dog", 0.98]]}')
    table = {}
    for key, entry in value.items():
        found = _named(entry)
        if found is None:
            mend = 'write a list of "name" or ["name", score]'
            raise UserError(f"{path}: the entry {key!r} is no list of names", mend=mend)
        table[key] = found
    return table


def _named(entry: Any) -> list[Found] | None:
    """Names with scores from JSON; None when it is no list of names."""
    if not isinstance(entry, list):
        return None
    found: list[Found] = []
    for item in entry:
        match item:
            case str():
                found.append((item, 1.0))
            case [str() as name, int() | float() as score]:
                found.append((name, float(score)))
            case _:
                return None
    return found
