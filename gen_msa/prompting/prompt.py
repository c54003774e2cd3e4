"""A prompt: a Jinja file with front matter, its identity, and the checks it passes when loaded.

Knows nothing of posts or answers. The digest covers the file and everything it includes, so two
runs with the same `identity` were asked in the same words.

    load("reader/full").identity      # 'reader/full@1a2b3c4d'
    load("my/own.jinja")              # may include shipped parts and files of its own folder
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from gen_msa.errors import UserError, did_you_mean
from gen_msa.prompting.sandbox import inspect
from gen_msa.settings import Settings, build
from gen_msa.shipped import folder, shipped
from gen_msa.shipped import names as shipped_names
from gen_msa.spans import NONCHARACTER
from gen_msa.types import Polarity

Task = Literal["aspect", "aspects", "overall", "judge"]
Role = Literal["label", "explanation", "evidence", "aspect", "aspects"]

SUFFIX = ".jinja"
GIVEN = frozenset({"post", "aspect", "label", "labels", "keys", "turn", "pictures", "mark"})
"""Names every template may use; a slot must not be called like one of them."""

_FRONT = re.compile(r"---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)


class FrontMatter(Settings):
    """What stands between the two `---` lines of a prompt file."""

    about: str
    task: Task
    slots: tuple[str, ...] = ()
    labels: dict[Polarity, str] = Field(default_factory=dict)
    options: tuple[str, ...] = ()
    keys: dict[Role, str]
    max_new_tokens: int = Field(gt=0, le=8192)
    quotes: Literal["free", "verbatim"] = "free"

    @field_validator("labels")
    @classmethod
    def _one_word_for_each(cls, labels: dict[Polarity, str]) -> dict[Polarity, str]:
        if labels and set(labels) != set(Polarity):
            raise ValueError("labels must give a word for negative, neutral and positive")
        if len({w.strip().casefold() for w in labels.values()} - {""}) != len(labels):
            raise ValueError("the three label words must differ and not be empty")
        return {p: labels[p].strip() for p in Polarity if labels}

    @model_validator(mode="after")
    def _has_the_words_of_its_task(self) -> Self:
        judges = self.task == "judge"
        if bool(self.labels) == judges:
            needs = "takes options, not" if judges else "needs"
            raise ValueError(f"task {self.task!r} {needs} labels")
        options = {o.strip().casefold() for o in self.options} - {""}
        if len(options) != len(self.options) or (len(options) > 1) != judges:
            raise ValueError("options are for task 'judge': two or more, all different")
        return self

    @model_validator(mode="after")
    def _has_what_its_task_needs(self) -> Self:
        needed = {"label"} | ({"aspects", "aspect"} if self.task == "aspects" else set())
        if missing := needed - set(self.keys):
            raise ValueError(f"task {self.task!r} also needs keys: {', '.join(sorted(missing))}")
        bad = [s for s in self.slots if s in GIVEN or not s.isidentifier() or s.startswith("_")]
        if bad:
            raise ValueError(f"these cannot be names of slots: {', '.join(bad)}")
        return self


@dataclass(frozen=True)
class Prompt:
    """A loaded prompt. Carries its own text, so it can be sent to another process as it is."""

    name: str
    digest: str
    """sha256, in hex, of the file and all it includes."""
    task: Task
    """`aspect`: asked once for each aspect; `aspects`: lists them; `overall`: the whole post;
    `judge`: marks what another reader said, which its slots show."""
    slots: tuple[str, ...]
    """Names of the cues it has room for."""
    labels: dict[Polarity, str]
    """The word the model is to say for each polarity, in label order."""
    keys: dict[str, str]
    """Names of the answer's lines by what they hold; in JSON they are in lower case."""
    max_new_tokens: int
    quotes: Literal["free", "verbatim"]
    """`verbatim`: what the answer puts in double quotes must be words of the post."""
    about: str
    takes_label: bool
    """True when the label is given and only its reason is asked (`render(..., label=)`)."""
    shows_pictures: bool
    sources: tuple[tuple[str, str], ...] = field(repr=False)
    """(name, template text) of the prompt, which comes first, and of everything it includes."""
    options: tuple[str, ...] = ()
    """The words a judge chooses from; empty for every other task."""

    @property
    def identity(self) -> str:
        """Name and the first 8 hex digits of the digest: `reader/full@1a2b3c4d`."""
        return f"{self.name}@{self.digest[:8]}"


def names() -> list[str]:
    """Every shipped prompt by name; the shared pieces in `parts/` are not prompts."""
    return [n for n in shipped_names("prompts", SUFFIX) if not n.startswith("parts/")]


def load(name: str) -> Prompt:
    """The prompt called `name` in `prompts/`, or the user's own `.jinja` file at that path.

    Raises `UserError` when there is none, when its front matter is wrong (an unknown key is an
    error with a suggestion), or when the body uses a name or a construct that is not allowed.
    """
    path = shipped("prompts", name, SUFFIX).resolve()
    root = folder("prompts").resolve()
    own = not path.is_relative_to(root)
    title = path.stem if own else path.relative_to(root).as_posix().removesuffix(SUFFIX)
    text = _read(path)
    front, body = _split(text, str(path))
    roots = (path.parent, root) if own else (root,)
    sources = {title + SUFFIX: body, **dict(_included(body, roots, str(path), {title + SUFFIX}))}
    used = set().union(*(inspect(source, where).names for where, source in sources.items()))
    _check_names(used, front, str(path))
    return Prompt(
        name=title,
        digest=_digest(text, sources),
        takes_label="label" in used,
        shows_pictures="pictures" in used,
        sources=tuple(sources.items()),
        **{k: getattr(front, k) for k in FrontMatter.model_fields},
    )


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"{path} cannot be read: {e}") from None
    if NONCHARACTER.search(text):
        raise UserError(f"{path} holds a noncharacter (U+FDD0 to U+FDEF)", mend="take it out")
    return text


def _split(text: str, where: str) -> tuple[FrontMatter, str]:
    found = _FRONT.match(text)
    if not found:
        raise UserError(
            f"{where} has no front matter", mend="begin it with --- lines around its settings"
        )
    try:
        tree: Any = yaml.safe_load(found[1])
    except yaml.YAMLError as e:
        raise UserError(f"{where}: the front matter is not YAML: {e}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{where}: the front matter must hold key: value lines")
    return build(FrontMatter, tree, where), text[found.end() :]


def _included(
    body: str, roots: tuple[Path, ...], where: str, seen: set[str]
) -> Iterator[tuple[str, str]]:
    """Every template that `body` includes, at any depth, each once."""
    for name in sorted(inspect(body, where).includes - seen):
        seen.add(name)
        text = _find(name, roots, where)
        yield name, text
        yield from _included(text, roots, name, seen)


def _find(name: str, roots: tuple[Path, ...], where: str) -> str:
    for root in roots:
        path = (root / name).resolve()
        if path.is_relative_to(root) and path.is_file() and path.suffix == SUFFIX:
            return _FRONT.sub("", _read(path), count=1)
    known = [n + SUFFIX for n in shipped_names("prompts", SUFFIX)]
    raise UserError(
        f"{where} includes {name!r}, which is not there", mend=did_you_mean(name, known)
    )


def _check_names(used: set[str], front: FrontMatter, where: str) -> None:
    allowed = GIVEN | set(front.slots)
    for name in sorted(used - allowed):
        mend = f"list it under slots, or {did_you_mean(name, allowed)}"
        raise UserError(f"{where} uses {name!r}, which is neither a slot nor given", mend=mend)
    for slot in sorted(set(front.slots) - used):
        raise UserError(f"{where} has a slot {slot!r} but never shows it", mend=f"{{{{ {slot} }}}}")


def _digest(text: str, sources: dict[str, str]) -> str:
    _, *parts = sources.items()
    whole = hashlib.sha256(text.encode())
    for name, source in sorted(parts):
        whole.update(f"\0{name}\0{source}".encode())
    return whole.hexdigest()
