"""Load prompts: Jinja files with front matter, checked when loaded, rendered in a sandbox.

The digest covers the file and everything it includes, so two runs with the same `identity` used
the same text.

    load_prompt("predict/full").identity      # 'predict/full@1a2b3c4d'
    load_prompt("my/own.jinja")               # may include packaged parts and files of its folder
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from jinja2 import DictLoader, StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, field_validator, model_validator

from gen_msa.errors import UserError, did_you_mean, user_errors
from gen_msa.resources import find_resource, resource_folder
from gen_msa.resources import resource_names as shipped_names
from gen_msa.settings import Settings, build, parse_yaml
from gen_msa.spans import NONCHARACTER
from gen_msa.types import Polarity

# Run templates in a sandbox: no globals, few filters, no code, no unknown names.

_FILTER_NAMES = "capitalize default first join last length list lower replace sort title trim upper"
FILTERS = frozenset(_FILTER_NAMES.split())
"""The filters of templates: not `tojson`, which escapes for HTML, nor `random`, nor `attr`."""

_TEMPLATE_ERRORS = (
    *(TemplateError, TypeError, ValueError, ArithmeticError, LookupError),
    *(AttributeError, RecursionError),
)


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox without the operators that can grow a text without bound."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse every operator in `intercepted_binops`: no prompt needs one.

        Args:
            context: The context of the template.
            operator: The operator, e.g. `*`.
            left: Its left operand.
            right: Its right operand.

        Returns:
            Nothing: it always raises.

        Raises:
            SecurityError: Always.
        """
        raise SecurityError(f"the operator {operator} is not allowed in a prompt")


class TemplateInfo(NamedTuple):
    """What is known of a template before it runs."""

    names: frozenset[str]
    """Undeclared variables."""
    includes: frozenset[str]


def make_environment(sources: Mapping[str, str]) -> PromptEnvironment:
    """Return a new environment whose templates can include only `sources`.

    Args:
        sources: Template text by name.
    """
    env = PromptEnvironment(
        loader=DictLoader(dict(sources)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # chats are no HTML; `<` must reach the model as it is
    )
    env.globals.clear()
    env.filters = {name: env.filters[name] for name in FILTERS}
    return env


@functools.lru_cache(maxsize=256)
def inspect_template(source: str, source_name: str) -> TemplateInfo:
    """Parse and compile a template without running it.

    Args:
        source: The template text.
        source_name: The name in error messages.

    Returns:
        The undeclared variables of the template and the templates that it includes.

    Raises:
        UserError: The template does not compile, imports, or includes by a variable.
    """
    env = make_environment({})
    try:
        tree = env.parse(source)
        env.compile(source)
    except _TEMPLATE_ERRORS as e:
        raise UserError(
            f"{source_name}: {e}", hint="see the packaged prompts: gen-msa ls prompts"
        ) from None
    includes = list(meta.find_referenced_templates(tree))
    if None in includes or tree.find(nodes.ImportedName):
        raise UserError(f"{source_name}: an include must name its file with a plain string")
    names = frozenset(meta.find_undeclared_variables(tree))
    return TemplateInfo(names, frozenset(name for name in includes if name))


def render_template(sources: tuple[tuple[str, str], ...], values: Mapping[str, Any]) -> str:
    """Render the first of `sources`, which may include the others.

    Args:
        sources: (name, template text) pairs.
        values: The template variables.

    Returns:
        The rendered text.

    Raises:
        UserError: The template fails.
    """
    try:
        return _compile_template(sources).render(values)
    except _TEMPLATE_ERRORS as e:
        problem = f"{sources[0][0]}: {type(e).__name__}: {e}"
        raise UserError(problem, hint="see the packaged prompts: gen-msa ls prompts") from None


@functools.lru_cache(maxsize=64)
def _compile_template(sources: tuple[tuple[str, str], ...]) -> Template:
    return make_environment(dict(sources)).get_template(sources[0][0])


Task = Literal["aspect", "aspects", "overall", "judge"]
AnswerRole = Literal["label", "explanation", "evidence", "aspect", "aspects"]

SUFFIX = ".jinja"
TEMPLATE_VARIABLES = frozenset(
    {"post", "aspect", "label", "labels", "keys", "turn", "images", "mark"}
)
"""Variables of every template; no slot may have one of these names."""

_FRONT_MATTER = re.compile(r"---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)


class FrontMatter(Settings):
    """The settings between the two `---` lines of a prompt file."""

    about: str
    task: Task
    slots: tuple[str, ...] = ()
    labels: dict[Polarity, str] = Field(default_factory=dict)
    options: tuple[str, ...] = ()
    keys: dict[AnswerRole, str]
    max_new_tokens: int = Field(gt=0, le=8192)
    quotes: Literal["free", "verbatim"] = "free"

    @field_validator("labels")
    @classmethod
    def _check_label_words(cls, labels: dict[Polarity, str]) -> dict[Polarity, str]:
        if labels and set(labels) != set(Polarity):
            raise ValueError("labels must give a word for negative, neutral and positive")
        if len({w.strip().casefold() for w in labels.values()} - {""}) != len(labels):
            raise ValueError("the three label words must differ and not be empty")
        return {p: labels[p].strip() for p in Polarity if labels}

    @model_validator(mode="after")
    def _check_task_labels(self) -> Self:
        is_judge = self.task == "judge"
        if bool(self.labels) == is_judge:
            needs = "takes options, not" if is_judge else "needs"
            raise ValueError(f"task {self.task!r} {needs} labels")
        options = {o.strip().casefold() for o in self.options} - {""}
        if len(options) != len(self.options) or (len(options) > 1) != is_judge:
            raise ValueError("options are for task 'judge': two or more, all different")
        return self

    @model_validator(mode="after")
    def _check_task_keys(self) -> Self:
        needed = {"label"} | ({"aspects", "aspect"} if self.task == "aspects" else set())
        if missing := needed - set(self.keys):
            raise ValueError(f"task {self.task!r} also needs keys: {', '.join(sorted(missing))}")
        invalid_slots = [
            s
            for s in self.slots
            if s in TEMPLATE_VARIABLES or not s.isidentifier() or s.startswith("_")
        ]
        if invalid_slots:
            raise ValueError(f"these names cannot be slots: {', '.join(invalid_slots)}")
        return self


@dataclass(frozen=True)
class Prompt:
    """A loaded prompt. It carries its template text, so it can be sent to another process."""

    name: str
    digest: str
    """sha256, in hex, of the file and all it includes."""
    task: Task
    """`aspect`: one question for each aspect; `aspects`: lists the aspects; `overall`: the whole
    post; `judge`: rates the answer of another model, which is in the slots."""
    slots: tuple[str, ...]
    """Names of the cues that the prompt can show."""
    labels: dict[Polarity, str]
    """The model's word for each polarity, in label order."""
    keys: dict[str, str]
    """The name of each answer line by its role; a JSON answer has the names in lower case."""
    max_new_tokens: int
    quotes: Literal["free", "verbatim"]
    """`verbatim`: text in double quotes in the answer must occur in the post."""
    about: str
    takes_label: bool
    """True if the label is an input and only its explanation is wanted (`render(..., label=)`)."""
    shows_images: bool
    sources: tuple[tuple[str, str], ...] = field(repr=False)
    """(name, template text) of the prompt itself, then of everything that it includes."""
    options: tuple[str, ...] = ()
    """The options of a judge prompt; empty for every other task."""

    @property
    def identity(self) -> str:
        """The name and the first 8 hex digits of the digest: `predict/full@1a2b3c4d`."""
        return f"{self.name}@{self.digest[:8]}"


def prompt_names() -> list[str]:
    """Return the names of all packaged prompts; the templates in `parts/` are not prompts."""
    return [n for n in shipped_names("prompts", SUFFIX) if not n.startswith("parts/")]


def load_prompt(name: str) -> Prompt:
    """Load a packaged prompt by name, or the user's own `.jinja` file by path.

    Args:
        name: A name in `prompts/`, such as `predict/full`, or a path.

    Raises:
        UserError: There is no such prompt; the front matter has an error, such as an unknown key
            (with a suggestion); or the body uses a name or a construct that is not allowed.
    """
    path = find_resource("prompts", name, SUFFIX).resolve()
    root = resource_folder("prompts").resolve()
    is_user_file = not path.is_relative_to(root)
    title = path.stem if is_user_file else path.relative_to(root).as_posix().removesuffix(SUFFIX)
    text = _read_prompt_file(path)
    front_matter, body = _split_front_matter(text, str(path))
    roots = (path.parent, root) if is_user_file else (root,)
    sources = {
        title + SUFFIX: body,
        **dict(_iter_includes(body, roots, str(path), {title + SUFFIX})),
    }
    used_names = set().union(
        *(inspect_template(source, source_name).names for source_name, source in sources.items())
    )
    _check_names(used_names, front_matter, str(path))
    return Prompt(
        name=title,
        digest=_digest(text, sources),
        takes_label="label" in used_names,
        shows_images="images" in used_names,
        sources=tuple(sources.items()),
        **{k: getattr(front_matter, k) for k in FrontMatter.model_fields},
    )


def _read_prompt_file(path: Path) -> str:
    with user_errors(path):
        text = path.read_text(encoding="utf-8")
    if NONCHARACTER.search(text):
        raise UserError(f"{path} holds a noncharacter (U+FDD0 to U+FDEF)", hint="remove it")
    return text


def _split_front_matter(text: str, source_name: str) -> tuple[FrontMatter, str]:
    match = _FRONT_MATTER.match(text)
    if not match:
        raise UserError(
            f"{source_name} has no front matter", hint="begin it with --- lines around its settings"
        )
    try:
        tree: Any = parse_yaml(match[1])
    except ValueError as e:
        raise UserError(f"{source_name}: the front matter is not YAML: {e}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{source_name}: the front matter must hold key: value lines")
    return build(FrontMatter, tree, source_name), text[match.end() :]


def _iter_includes(
    body: str, roots: tuple[Path, ...], source_name: str, visited: set[str]
) -> Iterator[tuple[str, str]]:
    """Yield every template that `body` includes, at any depth, each once."""
    for name in sorted(inspect_template(body, source_name).includes - visited):
        visited.add(name)
        text = _find_include(name, roots, source_name)
        yield name, text
        yield from _iter_includes(text, roots, name, visited)


def _find_include(name: str, roots: tuple[Path, ...], source_name: str) -> str:
    for root in roots:
        path = (root / name).resolve()
        if path.is_relative_to(root) and path.is_file() and path.suffix == SUFFIX:
            return _FRONT_MATTER.sub("", _read_prompt_file(path), count=1)
    known_names = [n + SUFFIX for n in shipped_names("prompts", SUFFIX)]
    raise UserError(
        f"{source_name} includes {name!r}, which does not exist",
        hint=did_you_mean(name, known_names),
    )


def _check_names(used_names: set[str], front_matter: FrontMatter, source_name: str) -> None:
    allowed = TEMPLATE_VARIABLES | set(front_matter.slots)
    for name in sorted(used_names - allowed):
        hint = f"add it to slots, or {did_you_mean(name, allowed)}"
        raise UserError(
            f"{source_name} uses {name!r}, which is neither a slot nor a template variable",
            hint=hint,
        )
    for slot in sorted(set(front_matter.slots) - used_names):
        raise UserError(
            f"{source_name} has a slot {slot!r} but never shows it", hint=f"{{{{ {slot} }}}}"
        )


def _digest(text: str, sources: dict[str, str]) -> str:
    _, *parts = sources.items()
    hasher = hashlib.sha256(text.encode())
    for name, source in sorted(parts):
        hasher.update(f"\0{name}\0{source}".encode())
    return hasher.hexdigest()
