"""Prompt files: identity, front matter, includes, and the errors their authors meet."""

import pickle
import re

import pytest

from gen_msa.errors import UserError
from gen_msa.prompting import load, names, render
from gen_msa.types import WHOLE_POST, Aspect, Polarity, Post

FRONT = """---
about: Ours.
task: aspect
labels: {negative: bad, neutral: so-so, positive: good}
keys: {label: Verdict}
max_new_tokens: 8
---
"""
JUDGE = """---
about: Ours.
task: judge
options: [1st, 2nd]
keys: {label: Better}
max_new_tokens: 8
---
"""
BODY = '{{ turn("user") }}\nWhat of "{{ aspect }}" in {{ post }}?\n'


@pytest.fixture
def own(tmp_path):
    def write(text=FRONT + BODY, name="mine.jinja"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", names())
def test_every_shipped_prompt_loads_and_says_who_it_is(name):
    prompt = load(name)
    assert re.fullmatch(rf"{re.escape(name)}@[0-9a-f]{{8}}", prompt.identity)
    assert re.fullmatch("[0-9a-f]{64}", prompt.digest)
    assert prompt.about
    assert list(prompt.labels) == ([] if prompt.task == "judge" else list(Polarity))
    assert bool(prompt.options) == (prompt.task == "judge")
    assert prompt.shows_pictures


def test_parts_are_not_prompts():
    assert "reader/full" in names()
    assert not [n for n in names() if n.startswith("parts")]
    with pytest.raises(UserError, match="no front matter"):
        load("parts/role")


def test_reader_full_has_a_short_instruction():
    """84 tokens of SmolLM2's; counted in words so that the test needs no tokenizer."""
    request = render(load("reader/full"), Post(id="1", text="x"), WHOLE_POST, {}, ())
    assert len(request.chat.turns[0].parts[0].text.split()) <= 75


def test_an_own_file_is_used_and_may_include_shipped_parts(own):
    prompt = load(own(FRONT + '{{ turn("user") }}\n{% include "parts/post.jinja" %}\n{{ aspect }}'))
    request = render(prompt, Post(id="1", text="Fine"), Aspect(term="x"), {}, ())
    assert prompt.name == "mine"
    assert "".join(p.text for p in request.chat.turns[0].parts) == "<<<POST\nFine\nPOST>>>\nx"
    assert request.choice.lead == "Verdict:"
    assert request.choice.options == (" bad", " so-so", " good")
    assert request.choice.then == ""


def test_the_digest_covers_what_is_included(own):
    main = own(FRONT + '{% include "own/piece.jinja" %}' + BODY)
    own("{# a #}", "own/piece.jinja")
    before = load(main)
    own("{# b #}", "own/piece.jinja")
    after = load(main)
    assert before.digest != after.digest
    assert load(main).digest == after.digest


def test_pieces_may_include_pieces_and_themselves_are_included_once(own):
    own('{% include "b.jinja" %}', "a.jinja")
    own('{% if False %}{% include "a.jinja" %}{% endif %}b', "b.jinja")
    prompt = load(own(FRONT + BODY + '{% include "a.jinja" %}'))
    assert [name for name, _ in prompt.sources] == ["mine.jinja", "a.jinja", "b.jinja"]


def test_a_prompt_can_be_sent_to_another_process(own):
    prompt = load(own())
    assert pickle.loads(pickle.dumps(prompt)) == prompt


@pytest.mark.parametrize("name", ["../secret.jinja", "/etc/hostname", "own/../../secret.jinja"])
def test_includes_stay_inside_their_folders(own, tmp_path, name):
    (tmp_path.parent / "secret.jinja").write_text("secret")
    with pytest.raises(UserError, match="which is not there"):
        load(own(FRONT + BODY + f'{{% include "{name}" %}}'))


def test_a_link_does_not_lead_an_include_outside(own, tmp_path):
    outside = tmp_path.parent / "outside.jinja"
    outside.write_text("secret")
    (tmp_path / "link.jinja").symlink_to(outside)
    with pytest.raises(UserError, match="which is not there"):
        load(own(FRONT + BODY + '{% include "link.jinja" %}'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BODY, "no front matter"),
        ("---\n[1, 2\n---\n" + BODY, "not YAML"),
        ("---\n- a\n---\n" + BODY, "key: value"),
        (FRONT.replace("about", "abuot") + BODY, "did you mean 'about'"),
        (FRONT.replace("task: aspect", "task: poem") + BODY, "task"),
        (FRONT.replace("positive: good", "positive: bad") + BODY, "must differ"),
        (FRONT.replace(", positive: good", "") + BODY, "a word for negative, neutral and positive"),
        (FRONT.replace("label: Verdict", "explanation: Why") + BODY, "also needs keys: label"),
        (FRONT.replace("task: aspect", "task: aspects") + BODY, "also needs keys: aspect, aspects"),
        (FRONT.replace("task: aspect", "task: judge") + BODY, "takes options, not labels"),
        (FRONT.replace("keys", "options: [a, b]\nkeys") + BODY, "options are for task 'judge'"),
        (JUDGE.replace("[1st, 2nd]", "[one]") + BODY, "two or more, all different"),
        (JUDGE.replace("[1st, 2nd]", "[one, One]") + BODY, "two or more, all different"),
        (FRONT.replace("about", "slots: [post]\nabout") + BODY, "cannot be names of slots: post"),
        (FRONT.replace("about", "slots: [syntax]\nabout") + BODY, "never shows it"),
        (FRONT.replace("max_new_tokens: 8", "max_new_tokens: 0") + BODY, "max_new_tokens"),
        (FRONT + BODY + "{{ aspetc }}", "did you mean 'aspect'"),
        (FRONT + BODY + "{% if %}", "mine.jinja"),
        (FRONT + BODY + "{{ post|tojson }}", "tojson"),
        (FRONT + BODY + '{% include "parts/rloe.jinja" %}', "did you mean 'parts/role.jinja'"),
        (FRONT + BODY + "{% include post %}", "must name its file plainly"),
        (FRONT + BODY + "\ufdd0", "noncharacter"),
    ],
)
def test_a_faulty_file_says_what_is_wrong(own, text, says):
    with pytest.raises(UserError, match=re.escape(says)):
        load(own(text))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "x.jinja"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load(str(path))


def test_an_unknown_prompt_has_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'reader/full'"):
        load("reader/ful")
