"""A fine-tuned model is asked as it was trained; what contradicts that is refused by name."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from gen_msa import prompting
from gen_msa.annotating import JobSettings
from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings
from gen_msa.readers.prompted.trained import as_trained

OWN = """---
about: our own
task: aspect
labels: {negative: negative, neutral: neutral, positive: positive}
keys: {label: Sentiment, explanation: Reason}
max_new_tokens: 50
---
{{ post.text }} {{ aspect }}
"""


def trained(*prompts, **reading):
    digests = {name: prompting.load(name).digest for name in prompts or ("reader/full",)}
    settings = {"prompt": "", "cues": {"window": {}}, "picture": {"max_pixels": 50_176}}
    return SimpleNamespace(prompts=digests, reading={**settings, **reading})


def test_a_model_that_says_nothing_of_its_training_changes_nothing():
    settings = ReaderSettings(prompt="reader/shots")
    assert as_trained(settings, None) is settings


def test_settings_that_were_not_given_are_those_of_training():
    found = as_trained(ReaderSettings(reader="transformers:a@b"), trained(max_new_tokens=70))
    assert found.prompt == "reader/full"
    assert found.cues == {"window": {}}
    assert found.picture.max_pixels == 50_176
    assert found.max_new_tokens == 70
    assert found.reader == "transformers:a@b"


def test_each_task_is_asked_with_the_prompt_it_was_trained_with():
    found = as_trained(ReaderSettings(), trained("reader/aspects", "reader/shots"))
    assert found.prompt == "reader/shots"
    assert found.aspects_prompt == "reader/aspects"
    assert found.overall_prompt == ReaderSettings().overall_prompt


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "reader/shots"}, "prompt=reader/shots"),
        ({"cues": {}}, "cues"),
        ({"cues": {"syntax": {}}}, "cues"),
        ({"picture": {"max_pixels": 99_999}}, "max_pixels=99999"),
    ],
)
def test_what_contradicts_training_is_refused_unless_overridden(given, said):
    with pytest.raises(UserError, match=said) as refused:
        as_trained(ReaderSettings(**given), trained())
    assert "adapter_settings=override" in str(refused.value)
    found = as_trained(ReaderSettings(adapter_settings="override", **given), trained())
    assert (
        found.model_dump().items() >= ReaderSettings(**given).model_dump(include={*given}).items()
    )


def test_what_agrees_with_training_may_be_given():
    given = {"prompt": "reader/full", "cues": {"window": {}}, "picture": {"max_pixels": 50_176}}
    assert as_trained(ReaderSettings(**given), trained()).prompt == "reader/full"


def test_limits_that_do_not_change_what_is_seen_stay_the_users():
    found = as_trained(ReaderSettings(picture={"max_bytes": 1000}), trained())
    assert found.picture.max_bytes == 1000
    assert found.picture.max_pixels == 50_176


def test_an_adapter_cannot_open_hosts():
    facts = trained(picture={"max_pixels": 1000, "allowed_hosts": ["example.org"]})
    assert as_trained(ReaderSettings(), facts).picture.allowed_hosts == ()


def test_a_prompt_that_changed_since_training_is_refused():
    facts = trained()
    facts.prompts["reader/full"] = "0" * 64
    with pytest.raises(UserError, match=r"is not as it was in training: reader/full@00000000"):
        as_trained(ReaderSettings(), facts)


def test_a_prompt_of_the_users_own_is_known_by_its_digest_wherever_it_lies(tmp_path):
    (tmp_path / "own.jinja").write_text(OWN)
    digest = prompting.load(str(tmp_path / "own.jinja")).digest
    facts = SimpleNamespace(prompts={"elsewhere/own.jinja": digest}, reading={})
    with pytest.raises(UserError, match="is not here"):
        as_trained(ReaderSettings(), facts)
    mine = str(tmp_path / "own.jinja")
    assert as_trained(ReaderSettings(prompt=mine), facts).prompt == mine
    (tmp_path / "own.jinja").write_text(OWN + "!")
    with pytest.raises(UserError, match="was trained with"):
        as_trained(ReaderSettings(prompt=mine), facts)


def test_a_job_tells_its_reader_what_was_given_and_what_was_not():
    job = JobSettings(reader="echo", workers=2, picture={"max_bytes": 9})
    assert job.of_reader().model_fields_set == {"reader", "picture"}
    assert job.of_reader().picture.model_fields_set == {"max_bytes"}


def test_a_tuned_model_is_read_with_its_own_settings_through_the_door(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("peft", reason="peft is not installed")
    from gen_msa.readers import make
    from tests.backends.trained import saved, train
    from tests.fixtures.posts import post

    base = saved("llama", tmp_path / "llama")
    facts = trained("reader/label")
    folder = train(base, tmp_path / "a", prompts=facts.prompts, reading=facts.reading)
    settings = {"reader": f"transformers:{base}@{folder}", "backend": {"device": "cpu"}}
    (shown, *_) = make(ReaderSettings(**settings), Path()).preview([post(3)])
    assert shown.how["prompt"].startswith("reader/label@")
    with pytest.raises(UserError, match="was trained with"):
        make(ReaderSettings(prompt="reader/full", **settings), Path())
