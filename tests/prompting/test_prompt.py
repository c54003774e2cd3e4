"""Test prompt files: identity, front matter, includes and error messages."""

import pickle
import re

import pytest

from gen_msa.errors import UserError
from gen_msa.prompting import load_prompt, prompt_names, render
from gen_msa.types import OVERALL_ASPECT, Aspect, Polarity, Post

FRONT_MATTER = """---
about: Ours.
task: aspect
labels: {negative: bad, neutral: so-so, positive: good}
keys: {label: Verdict}
max_new_tokens: 8
---
"""
JUDGE_FRONT_MATTER = """---
about: Ours.
task: judge
options: [1st, 2nd]
keys: {label: Better}
max_new_tokens: 8
---
"""
BODY = '{{ turn("user") }}\nWhat of "{{ aspect }}" in {{ post }}?\n'


@pytest.fixture
def write_prompt(tmp_path):
    def write(text=FRONT_MATTER + BODY, name="mine.jinja"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", prompt_names())
def test_packaged_prompt_loads_and_has_identity(name):
    prompt = load_prompt(name)
    assert re.fullmatch(rf"{re.escape(name)}@[0-9a-f]{{8}}", prompt.identity)
    assert re.fullmatch("[0-9a-f]{64}", prompt.digest)
    assert prompt.about
    assert list(prompt.labels) == ([] if prompt.task == "judge" else list(Polarity))
    assert bool(prompt.options) == (prompt.task == "judge")
    assert prompt.shows_images


def test_partial_templates_are_not_prompts():
    assert "predict/full" in prompt_names()
    assert not [n for n in prompt_names() if n.startswith("parts")]
    with pytest.raises(UserError, match="no front matter"):
        load_prompt("parts/role")


def test_predict_full_has_short_instruction():
    """Limit the words: they are 84 tokens of SmolLM2, without needing its tokenizer."""
    request = render(load_prompt("predict/full"), Post(id="1", text="x"), OVERALL_ASPECT, {}, ())
    assert len(request.chat.turns[0].parts[0].text.split()) <= 75


def test_user_prompt_may_include_packaged_parts(write_prompt):
    prompt = load_prompt(
        write_prompt(
            FRONT_MATTER + '{{ turn("user") }}\n{% include "parts/post.jinja" %}\n{{ aspect }}'
        )
    )
    request = render(prompt, Post(id="1", text="Fine"), Aspect(term="x"), {}, ())
    assert prompt.name == "mine"
    assert "".join(p.text for p in request.chat.turns[0].parts) == "<<<POST\nFine\nPOST>>>\nx"
    assert request.choice.prefix == "Verdict:"
    assert request.choice.options == (" bad", " so-so", " good")
    assert request.choice.suffix == ""


def test_digest_covers_included_files(write_prompt):
    main = write_prompt(FRONT_MATTER + '{% include "own/piece.jinja" %}' + BODY)
    write_prompt("{# a #}", "own/piece.jinja")
    before = load_prompt(main)
    write_prompt("{# b #}", "own/piece.jinja")
    after = load_prompt(main)
    assert before.digest != after.digest
    assert load_prompt(main).digest == after.digest


def test_includes_may_nest_and_are_listed_once(write_prompt):
    write_prompt('{% include "b.jinja" %}', "a.jinja")
    write_prompt('{% if False %}{% include "a.jinja" %}{% endif %}b', "b.jinja")
    prompt = load_prompt(write_prompt(FRONT_MATTER + BODY + '{% include "a.jinja" %}'))
    assert [name for name, _ in prompt.sources] == ["mine.jinja", "a.jinja", "b.jinja"]


def test_prompt_is_picklable(write_prompt):
    prompt = load_prompt(write_prompt())
    assert pickle.loads(pickle.dumps(prompt)) == prompt


@pytest.mark.parametrize("name", ["../secret.jinja", "/etc/hostname", "own/../../secret.jinja"])
def test_include_outside_its_folder_is_refused(write_prompt, tmp_path, name):
    (tmp_path.parent / "secret.jinja").write_text("secret")
    with pytest.raises(UserError, match="which does not exist"):
        load_prompt(write_prompt(FRONT_MATTER + BODY + f'{{% include "{name}" %}}'))


def test_include_through_symlink_to_outside_is_refused(write_prompt, tmp_path):
    outside = tmp_path.parent / "outside.jinja"
    outside.write_text("secret")
    (tmp_path / "link.jinja").symlink_to(outside)
    with pytest.raises(UserError, match="which does not exist"):
        load_prompt(write_prompt(FRONT_MATTER + BODY + '{% include "link.jinja" %}'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BODY, "no front matter"),
        ("---\n[1, 2\n---\n" + BODY, "not YAML"),
        ("---\n- a\n---\n" + BODY, "key: value"),
        (FRONT_MATTER.replace("about", "abuot") + BODY, "did you mean 'about'"),
        (FRONT_MATTER.replace("task: aspect", "task: poem") + BODY, "task"),
        (FRONT_MATTER.replace("positive: good", "positive: bad") + BODY, "must differ"),
        (
            FRONT_MATTER.replace(", positive: good", "") + BODY,
            "a word for negative, neutral and positive",
        ),
        (
            FRONT_MATTER.replace("label: Verdict", "explanation: Why") + BODY,
            "also needs keys: label",
        ),
        (
            FRONT_MATTER.replace("task: aspect", "task: aspects") + BODY,
            "also needs keys: aspect, aspects",
        ),
        (FRONT_MATTER.replace("task: aspect", "task: judge") + BODY, "takes options, not labels"),
        (
            FRONT_MATTER.replace("keys", "options: [a, b]\nkeys") + BODY,
            "options are for task 'judge'",
        ),
        (JUDGE_FRONT_MATTER.replace("[1st, 2nd]", "[one]") + BODY, "two or more, all different"),
        (
            JUDGE_FRONT_MATTER.replace("[1st, 2nd]", "[one, One]") + BODY,
            "two or more, all different",
        ),
        (
            FRONT_MATTER.replace("about", "slots: [post]\nabout") + BODY,
            "names cannot be slots: post",
        ),
        (FRONT_MATTER.replace("about", "slots: [syntax]\nabout") + BODY, "never shows it"),
        (FRONT_MATTER.replace("max_new_tokens: 8", "max_new_tokens: 0") + BODY, "max_new_tokens"),
        (FRONT_MATTER + BODY + "{{ aspetc }}", "did you mean 'aspect'"),
        (FRONT_MATTER + BODY + "{% if %}", "mine.jinja"),
        (FRONT_MATTER + BODY + "{{ post|tojson }}", "tojson"),
        (
            FRONT_MATTER + BODY + '{% include "parts/rloe.jinja" %}',
            "did you mean 'parts/role.jinja'",
        ),
        (FRONT_MATTER + BODY + "{% include post %}", "must name its file with a plain string"),
        (FRONT_MATTER + BODY + "\ufdd0", "noncharacter"),
    ],
)
def test_invalid_prompt_file_raises_specific_error(write_prompt, text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load_prompt(write_prompt(text))


def test_undecodable_prompt_file_is_refused(tmp_path):
    path = tmp_path / "x.jinja"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_prompt(str(path))


def test_unknown_prompt_name_gets_suggestion():
    with pytest.raises(UserError, match="did you mean 'predict/full'"):
        load_prompt("predict/ful")
