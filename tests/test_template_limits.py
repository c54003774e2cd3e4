"""A chat template cannot loop without end, nor make a text of gigabytes; real ones pass."""

import sys
import time

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.builtin.assembly import CHAT_TEMPLATE
from gen_msa.errors import UserError
from gen_msa.template_limits import check_template, limited_templates
from tests.fixtures.tiny_models import tiny_model

CHAT = [[{"role": "user", "content": "hello"}]]
NESTED = (
    "{% for i in range(90000) %}{% for j in range(90000) %}x{% endfor %}{% endfor %}",
    "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
)
DOUBLING = (
    "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
)


def render(template: str) -> str:
    check_template(template, "the model")
    with limited_templates():
        return str(render_jinja_template(CHAT, chat_template=template)[0][0])


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        *((t, "more than 200,000 steps") for t in NESTED),
        *((t, "a text that is too long") for t in DOUBLING),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deeply"),
        ("{% for i in range(10**9) %}{% endfor %}", "operator"),
        ("{% for i in range(1000000000) %}{% endfor %}", "the number 1000000000"),
        ("{{ 'a' * 900000 * 900000 }}", "a product of products"),
        ("{{ 'aa' * n }}", "the operator *"),
        ("{{ 'a' | center(999999) }}", "the filter center"),
        ("x" * 1_000_001, "1,000,001 characters"),
    ],
)
def test_costly_template_is_refused(template, reason):
    started = time.monotonic()
    with pytest.raises(UserError, match=reason.replace("*", r"\*")) as e:
        render(template)
    assert e.value.hint
    assert time.monotonic() - started < 30


def test_usual_template_renders_unchanged():
    expected = render_jinja_template(CHAT, chat_template=CHAT_TEMPLATE)[0][0]
    assert render(CHAT_TEMPLATE) == expected
    generation = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    )
    assert render(generation) == "hello"


def test_tracing_of_the_caller_is_restored():
    def trace(*_: object) -> None: ...

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        with limited_templates():
            pass
        restored = sys.gettrace()
    finally:
        sys.settrace(previous)
    assert restored is trace


@pytest.mark.parametrize("template", [NESTED[0], DOUBLING[0], "{{ 'aa' * n }}"])
def test_model_with_a_costly_template_is_refused_when_it_is_loaded(template):
    processor = tiny_model("llama").processor
    original = processor.chat_template
    processor.chat_template = template + "{{ messages }}"
    try:
        with pytest.raises(UserError, match="chat template"):
            ChatTokenizer(processor)
    finally:
        processor.chat_template = original
