"""The sandbox templates run in: no globals, few filters, no code, strict about unknown names.

Knows nothing of posts or prompts. Whatever goes wrong in a template comes out as `UserError` with
the template's name.

    inspect("{{ post }}", "mine.jinja").names       # frozenset({'post'})
    fill((("mine.jinja", "{{ post }}"),), {"post": "hi"})
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from jinja2 import DictLoader, StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gen_msa.errors import UserError

_PLAIN = "capitalize default first join last length list lower replace sort title trim upper"
FILTERS = frozenset(_PLAIN.split())
"""All that templates may use: not `tojson`, which escapes for HTML, nor `random`, nor `attr`."""

_FAULTS = (
    *(TemplateError, TypeError, ValueError, ArithmeticError, LookupError),
    *(AttributeError, RecursionError),
)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, and nothing that grows a text without bound."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse every operator named above: a prompt needs none of them."""
        raise SecurityError(f"the operator {operator} is not allowed in a prompt")


class Facts(NamedTuple):
    """What a template says of itself before it is run."""

    names: frozenset[str]
    """Names it expects to be given."""
    includes: frozenset[str]


def sandbox(sources: Mapping[str, str]) -> Sandbox:
    """A fresh environment that can include only `sources`."""
    env = Sandbox(
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


def inspect(source: str, where: str) -> Facts:
    """Parse a template; raise `UserError` when it cannot be compiled or includes by a variable."""
    env = sandbox({})
    try:
        tree = env.parse(source)
        env.compile(source)
    except _FAULTS as e:
        raise UserError(f"{where}: {e}", mend="see the prompts that ship: gen-msa ls") from None
    includes = list(meta.find_referenced_templates(tree))
    if None in includes or tree.find(nodes.ImportedName):
        raise UserError(f"{where}: an include must name its file plainly")
    names = frozenset(meta.find_undeclared_variables(tree))
    return Facts(names, frozenset(name for name in includes if name))


def fill(sources: tuple[tuple[str, str], ...], values: Mapping[str, Any]) -> str:
    """Render the first of `sources`; the others are what it may include."""
    try:
        return _compiled(sources).render(values)
    except _FAULTS as e:
        problem = f"{sources[0][0]}: {type(e).__name__}: {e}"
        raise UserError(problem, mend="see the prompts that ship: gen-msa ls") from None


@functools.lru_cache(maxsize=64)
def _compiled(sources: tuple[tuple[str, str], ...]) -> Template:
    return sandbox(dict(sources)).get_template(sources[0][0])
