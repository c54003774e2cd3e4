"""A vLLM server is held to the prompt's slot; what it does with that is said."""

import json

import pytest

from gen_msa import manifest
from gen_msa.backends import BackendOptions
from gen_msa.backends._label_slot import slot_pattern
from gen_msa.backends.http import HttpBackend
from gen_msa.chat import ChoiceSlot
from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings, make
from tests.fixtures.fake_openai import FakeOpenAI, reply
from tests.fixtures.http_client import ask, client

CHOICE = ChoiceSlot(prefix="Sentiment:", options=(" bad", " good"), suffix="\nExplanation:")
SCHEMA = {"type": "object", "properties": {"label": {"type": "string", "enum": ["bad", "good"]}}}


def token_entry(word, logprob, **others):
    top = [{"token": w, "logprob": p} for w, p in {word: logprob, **others}.items()]
    return {"token": word, "logprob": logprob, "top_logprobs": top}


def write_adapter(folder, **fields):
    folder.mkdir()
    settings_fields = {
        "prompts": {"predict/plain": "0" * 64},
        "inference": {"prompt": "predict/plain"},
        **fields,
    }
    (folder / "inference.json").write_text(json.dumps(settings_fields))
    manifest.seal(folder)
    return folder


def test_slot_is_sent_as_regex_instead_of_schema():
    steps = [
        token_entry("Sentiment", 0.0),
        token_entry(":", 0.0),
        token_entry(" good", -0.2, **{" bad": -1.7}),
    ]
    answer = reply("Sentiment: good\nExplanation: x", logprobs={"content": steps})
    with FakeOpenAI(answer=lambda body: answer) as server:
        backend = client(server, slots=True)
        completion, free = backend.complete(
            [ask("a", choice=CHOICE, json_schema=SCHEMA), ask("b", json_schema=SCHEMA)]
        )
        bodies = {json.dumps(s["messages"][-1]["content"]): s for s in server.request_bodies}
    assert bodies['"a"']["structured_outputs"] == {"regex": slot_pattern(CHOICE)}
    assert "response_format" not in bodies['"a"']
    assert "response_format" in bodies['"b"']
    assert not [k for s in bodies.values() for k in s if k.startswith("guided")]
    assert (completion.notes["form"], free.notes["form"]) == ("slot", "schema")
    assert completion.option_logprobs == pytest.approx({" good": -0.2, " bad": -1.7})


def test_ignored_slot_is_detected():
    with FakeOpenAI(answer=lambda body: reply("I think it is good.")) as server:
        (completion,) = client(server, slots=True).complete([ask("a", choice=CHOICE)])
    assert completion.notes["form"] == "free (the slot was ignored)"


def test_refused_slot_falls_back_to_schema():
    with FakeOpenAI(unsupported_params=("structured_outputs",)) as server:
        backend = client(server, slots=True, batch_size=1)
        first, second = backend.complete(
            [ask(p, choice=CHOICE, json_schema=SCHEMA) for p in ("a", "b")]
        )
        assert server.attempts["b"] == 1
    assert first.notes["server_without"] == second.notes["server_without"] == "structured_outputs"
    assert first.notes["form"] == "schema"


def test_adapter_option_enables_slots_and_changes_revision(tmp_path):
    folder = write_adapter(tmp_path / "mabsa")
    options = {"api_key_variable": ""}
    plain_backend = HttpBackend("http://127.0.0.1:9/v1#m", BackendOptions(**options))
    adapter_backend = HttpBackend(
        "http://127.0.0.1:9/v1#m", BackendOptions(**options, adapter=str(folder))
    )
    assert adapter_backend.revision.startswith(f"{plain_backend.revision}@")
    assert adapter_backend.training_metadata.inference == {"prompt": "predict/plain"}
    assert (adapter_backend._slots, plain_backend._slots) == (True, False)


@pytest.mark.parametrize("setting", ["prompt=predict/full", "image.max_pixels=9"])
def test_settings_unlike_training_are_refused(tmp_path, setting):
    from gen_msa import prompting
    from gen_msa.settings import load

    digest = prompting.load_prompt("predict/plain").digest
    inference = {"prompt": "predict/plain", "image": {"max_pixels": 2000}}
    folder = write_adapter(
        tmp_path / "mabsa", prompts={"predict/plain": digest}, inference=inference
    )
    overrides = ["model=http:http://127.0.0.1:9/v1#m", f"backend.adapter={folder}"]
    overrides.append("backend.api_key_variable=")
    settings = make(load(PredictorSettings, overrides=overrides), tmp_path).settings
    assert (settings.prompt, settings.image.max_pixels) == ("predict/plain", 2000)
    with pytest.raises(UserError, match="trained with"):
        make(load(PredictorSettings, overrides=[*overrides, setting]), tmp_path)


def test_invalid_or_altered_adapter_folder_is_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    changed = write_adapter(tmp_path / "changed")
    (changed / "inference.json").write_text('{"prompts": {}, "inference": {}}')
    for folder in (empty, changed):
        with pytest.raises(UserError):
            HttpBackend("http://127.0.0.1:9/v1#m", BackendOptions(adapter=str(folder)))
