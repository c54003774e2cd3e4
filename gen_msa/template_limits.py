"""Bound what a chat template may compute: steps, sizes of texts, and operators that make long ones.

A chat template comes with a model's folder. Jinja's sandbox keeps it from files and code, not from
loops within loops, nor from a text that doubles at each turn.

    check_template(processor.chat_template, "models/m")
    with limited_templates(): text = processor.apply_chat_template(messages, tokenize=False)
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.runtime import Undefined
from jinja2.utils import Namespace

from gen_msa.errors import UserError, describe_error

MAX_TEMPLATE_CHARS = 1_000_000
"""Characters of a template; the longest in use has about 20,000."""
MAX_STEPS = 200_000
"""Lines of a template that one render runs; a chat of 100 turns takes some 10,000."""
MAX_TEXT_CHARS = 50_000_000
"""Characters of a text, or entries of a list, that a template holds."""
MAX_NUMBER = 1_000_000
"""Largest number in a template, and longest text that `*` or a filter of a template may make."""
_PADDING_FILTERS = frozenset({"center", "indent", "wordwrap", "format"})
_TEMPLATE_FILE = "<template>"
_HINT = "restore the chat_template of the model's publisher"


def check_template(template: Any, owner: str) -> None:
    """Refuse a template that could make a long text in one step.

    Args:
        template: A template, several by name, or None.
        owner: Whose template it is, for the message.

    Raises:
        UserError: The template is too long, or has a power, a product of large numbers or of texts,
            or a number over `MAX_NUMBER`. A template that is not Jinja is left to its renderer.
    """
    for text in template.values() if isinstance(template, dict) else [template or ""]:
        if len(str(text)) > MAX_TEMPLATE_CHARS:
            raise UserError(
                f"{owner}: the chat template has {len(str(text)):,} characters", hint=_HINT
            )
        try:
            tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_plain(str(text)))  # noqa: S701  parsed, not rendered
        except (TemplateSyntaxError, RecursionError):
            continue
        if reason := _costly_node(tree):
            raise UserError(f"{owner}: the chat template has {reason}", hint=_HINT)


def _plain(text: str) -> str:
    """Return the template without the tags that transformers adds to Jinja."""
    for tag in ("generation", "endgeneration"):
        for begin in ("{%", "{%-"):
            for end in ("%}", "-%}"):
                text = text.replace(f"{begin} {tag} {end}", "")
    return text


def _costly_node(tree: nodes.Template) -> str:
    """Return what could make a long text in one step; "" for nothing."""
    for number in tree.find_all(nodes.Const):
        value = number.value
        if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
            return f"the number {value}"
    if tree.find(nodes.Pow):
        return "the operator **"
    for product in tree.find_all(nodes.Mul):
        for side in (product.left, product.right):
            if not isinstance(side, nodes.Const | nodes.Getattr | nodes.Name | nodes.Filter):
                return "a product of products"
            if isinstance(side, nodes.Const) and (
                (isinstance(side.value, str) and len(side.value) > 1) or _is_large(side.value)
            ):
                return f"the operator * with {str(side.value)[:20]!r}"
    for node in tree.find_all(nodes.Filter):
        if node.name in _PADDING_FILTERS and any(
            isinstance(a, nodes.Const) and _is_large(a.value) for a in node.args
        ):
            return f"the filter {node.name} with a large number"
    return ""


def _is_large(value: object) -> bool:
    return isinstance(value, int) and value > 1_000


@contextmanager
def limited_templates() -> Iterator[None]:
    """Stop templates that this thread renders in the block when they take too much.

    Yields:
        None.

    Raises:
        UserError: A template took more than `MAX_STEPS` steps, holds a text or list of more than
            `MAX_TEXT_CHARS`, or calls itself without end.
    """
    steps = 0
    outer = sys.gettrace()

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > MAX_STEPS:
            message = f"the chat template takes more than {MAX_STEPS:,} steps"
            raise UserError(message, hint=_HINT)
        if _largest(frame.f_locals) > MAX_TEXT_CHARS:
            raise UserError("the chat template makes a text that is too long", hint=_HINT)
        return on_line

    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        # Only the code of a template is counted, line by line.
        return on_line if frame.f_code.co_filename == _TEMPLATE_FILE else None

    sys.settrace(on_call)
    try:
        yield
    except (RecursionError, MemoryError, ArithmeticError) as e:
        message = f"the chat template cannot be rendered: {describe_error(e)}"
        raise UserError(message, hint=_HINT) from e
    finally:
        sys.settrace(outer)


def _largest(variables: dict[str, Any]) -> int:
    """Return the size of the longest text or list among variables and namespaces."""
    sizes = [0]
    for value in variables.values():
        if isinstance(value, str | list | tuple | dict):
            sizes.append(len(value))
        elif isinstance(value, Namespace) and not isinstance(value, Undefined):
            attributes = object.__getattribute__(value, "_Namespace__attrs")
            sizes += [len(v) for v in attributes.values() if isinstance(v, str | list | tuple)]
    return max(sizes)
