"""A vLLM server is held to the prompt's slot; what it does with that is said."""

import json

import pytest

from gen_msa import manifest
from gen_msa.backends import BackendOptions
from gen_msa.backends._slots import slot_pattern
from gen_msa.backends.http import Http
from gen_msa.chat import Choice
from gen_msa.errors import UserError
from gen_msa.readers import ReaderSettings, make
from tests.fixtures.fake_openai import FakeOpenAI, reply
from tests.fixtures.http_client import ask, client

CHOICE = Choice(lead="Sentiment:", options=(" bad", " good"), then="\nExplanation:")
SCHEMA = {"type": "object", "properties": {"label": {"type": "string", "enum": ["bad", "good"]}}}


def token(word, logprob, **others):
    top = [{"token": w, "logprob": p} for w, p in {word: logprob, **others}.items()]
    return {"token": word, "logprob": logprob, "top_logprobs": top}


def adapter(folder, **facts):
    folder.mkdir()
    told = {"prompts": {"reader/plain": "0" * 64}, "reading": {"prompt": "reader/plain"}, **facts}
    (folder / "reading.json").write_text(json.dumps(told))
    manifest.seal(folder)
    return folder


def test_a_slot_is_sent_as_a_pattern_in_place_of_the_schema_and_read_back():
    steps = [token("Sentiment", 0.0), token(":", 0.0), token(" good", -0.2, **{" bad": -1.7})]
    answer = reply("Sentiment: good\nExplanation: x", logprobs={"content": steps})
    with FakeOpenAI(answer=lambda body: answer) as server:
        backend = client(server, slots=True)
        done, free = backend.complete(
            [ask("a", choice=CHOICE, json_schema=SCHEMA), ask("b", json_schema=SCHEMA)]
        )
        sent = {json.dumps(s["messages"][-1]["content"]): s for s in server.seen}
    assert sent['"a"']["structured_outputs"] == {"regex": slot_pattern(CHOICE)}
    assert "response_format" not in sent['"a"']
    assert "response_format" in sent['"b"']
    assert not [k for s in sent.values() for k in s if k.startswith("guided")]
    assert (done.notes["form"], free.notes["form"]) == ("slot", "schema")
    assert done.option_logprobs == pytest.approx({" good": -0.2, " bad": -1.7})


def test_a_server_that_passes_over_the_slot_is_found_out():
    with FakeOpenAI(answer=lambda body: reply("I think it is good.")) as server:
        (done,) = client(server, slots=True).complete([ask("a", choice=CHOICE)])
    assert done.notes["form"] == "free (the slot was passed over)"


def test_a_server_that_refuses_the_field_gets_the_schema_instead():
    with FakeOpenAI(refuses=("structured_outputs",)) as server:
        backend = client(server, slots=True, batch_size=1)
        one, two = backend.complete([ask(p, choice=CHOICE, json_schema=SCHEMA) for p in ("a", "b")])
        assert server.attempts["b"] == 1
    assert one.notes["server_without"] == two.notes["server_without"] == "structured_outputs"
    assert one.notes["form"] == "schema"


def test_a_named_adapter_brings_slots_and_stands_in_the_revision(tmp_path):
    folder = adapter(tmp_path / "mabsa")
    options = {"api_key_variable": ""}
    bare = Http("http://127.0.0.1:9/v1#m", BackendOptions(**options))
    worn = Http("http://127.0.0.1:9/v1#m", BackendOptions(**options, adapter=str(folder)))
    assert worn.revision.startswith(f"{bare.revision}@")
    assert worn.trained.reading == {"prompt": "reader/plain"}
    assert (worn._slots, bare._slots) == (True, False)


@pytest.mark.parametrize("setting", ["prompt=reader/full", "picture.max_pixels=9"])
def test_asking_otherwise_than_the_named_adapter_was_trained_is_refused(tmp_path, setting):
    from gen_msa import prompting
    from gen_msa.settings import load

    digest = prompting.load("reader/plain").digest
    reading = {"prompt": "reader/plain", "picture": {"max_pixels": 2000}}
    folder = adapter(tmp_path / "mabsa", prompts={"reader/plain": digest}, reading=reading)
    given = ["reader=http:http://127.0.0.1:9/v1#m", f"backend.adapter={folder}"]
    given.append("backend.api_key_variable=")
    settings = make(load(ReaderSettings, overrides=given), tmp_path).settings
    assert (settings.prompt, settings.picture.max_pixels) == ("reader/plain", 2000)
    with pytest.raises(UserError, match="trained with"):
        make(load(ReaderSettings, overrides=[*given, setting]), tmp_path)


def test_a_folder_that_is_no_adapter_or_was_changed_is_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    changed = adapter(tmp_path / "changed")
    (changed / "reading.json").write_text('{"prompts": {}, "reading": {}}')
    for folder in (empty, changed):
        with pytest.raises(UserError):
            Http("http://127.0.0.1:9/v1#m", BackendOptions(adapter=str(folder)))
