"""Test that no template can run code: each of more than thirty payloads is refused."""

import sys

import pytest

from gen_msa.chat import TextInput
from gen_msa.errors import UserError
from gen_msa.prompting import load_prompt, render
from gen_msa.types import Aspect, Cue, Post

FRONT_MATTER = """---
about: Ours.
task: aspect
slots: [syntax]
labels: {negative: negative, neutral: neutral, positive: positive}
keys: {label: Sentiment}
max_new_tokens: 8
---
{{ turn("user") }}{{ aspect }}{{ syntax }}{{ post }}
"""
OS = "'os'"
PAYLOADS = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ post.__class__.__init__.__globals__ }}",
    "{{ post._text }}",
    "{{ post['_text'] }}",
    "{{ post|attr('_text') }}",
    "{{ turn.__globals__ }}",
    "{{ turn.__globals__['__builtins__']['__import__']('os').system('touch owned') }}",
    "{{ mark.__closure__ }}",
    "{{ images.__code__ }}",
    "{{ labels.__class__ }}",
    "{{ keys.update({'label': 'x'}) }}",
    "{{ labels.clear() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.popen('touch owned').read() }}",
    "{{ joiner.__init__.__globals__.os.system('touch owned') }}",
    "{{ lipsum.__globals__.os.system('touch owned') }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ config }}",
    "{{ request.application.__globals__ }}",
    "{{ range(999999999) }}",
    "{{ 'a' * 999999999999 }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{0.__class__}'.format(post) }}",
    "{{ '{0._text}'.format(post) }}",
    "{{ ''.join.__self__.__class__ }}",
    "{{ [].append.__self__.__class__.__base__ }}",
    "{{ ({}).__class__.__bases__[0].__subclasses__() }}",
    "{% for c in [].__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
    "{% set x = ''.__class__ %}{{ x.mro() }}",
    "{{ (1).__class__.__base__ }}",
    "{% import 'os' as os %}{{ os.system('touch owned') }}",
    "{% from '/etc/passwd' import x %}",
    "{% include '/etc/passwd' %}",
    "{% extends '../../../etc/passwd' %}",
    "{% include labels.negative %}",
    "{{ ''|map('system')|list }}",
    "{{ [1]|random }}",
    "{{ post|tojson }}",
    "{% do [].append(1) %}",
]
POST = Post(id="1", text="The phone is fine {{7*7}}")

WATCHED_EVENTS = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.fork"}
EVENTS = []


@pytest.fixture(scope="module", autouse=True)
def _audit():
    """Watch for new processes. An audit hook cannot be removed, so it is disabled afterwards."""
    watching = True
    sys.addaudithook(lambda event, _: watching and event in WATCHED_EVENTS and EVENTS.append(event))
    yield
    watching = False


@pytest.mark.parametrize("payload", PAYLOADS)
def test_template_cannot_run_code(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    EVENTS.clear()
    path = tmp_path / "mine.jinja"
    path.write_text(FRONT_MATTER + payload, encoding="utf-8")
    with pytest.raises(UserError):
        render(load_prompt(str(path)), POST, Aspect(term="phone"), {}, ())
    assert EVENTS == []
    assert [p.name for p in tmp_path.iterdir()] == ["mine.jinja"]


def test_at_least_30_payloads_are_tested():
    assert len(PAYLOADS) >= 30


@pytest.mark.parametrize(
    "text", ["{{7*7}}", "{% include '/etc/passwd' %}", "{# x #}", "{{ post }}"]
)
def test_template_code_in_post_stays_text(text):
    post = Post(id="1", text=text)
    cue = {"syntax": Cue(text=text, source="spacy")}
    request = render(load_prompt("predict/full"), post, Aspect(term=text, start=0), cue, ())
    untrusted_texts = [
        p.text for p in request.chat.turns[1].parts if isinstance(p, TextInput) and p.untrusted
    ]
    assert untrusted_texts == [text] * 4
