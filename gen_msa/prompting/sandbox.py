"""Run templates in a sandbox: no globals, few filters, no code, no unknown names.

Every failure in a template becomes a `UserError` with the template's name.

    inspect_template("{{ post }}", "mine.jinja").names       # frozenset({'post'})
    render_template((("mine.jinja", "{{ post }}"),), {"post": "hi"})
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from jinja2 import DictLoader, StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gen_msa.errors import UserError

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
