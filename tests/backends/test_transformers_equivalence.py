"""Shared prefixes and batches change no word: against transformers' own generate, one at a time."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.transformers import TransformersBackend
from tests.backends.sample_requests import SLOT, build_requests, load_noise_image
from tests.fixtures.tiny_models import FAMILIES, VISION_FAMILIES, tiny_model

SHARED = {"llama", "qwen2", "llava", "idefics3", "llava_onevision", "internvl"}
UNSHARED_REASONS = {
    "mistral": "sliding window",
    "gemma3": "bidirectional attention",
    "paligemma": "bidirectional attention",
    "qwen2_5_vl": "mrope",
    "qwen3_vl": "mrope",
}
MAX_NEW_TOKENS = 10


def make_backend(family, *, share=True, size=5):
    tiny = tiny_model(family)
    options = BackendOptions(batch_size=size, share_prefix=share)
    return TransformersBackend.from_model(
        tiny.model, tiny.processor, options, "tiny", load_noise_image
    )


def family_requests(family, slot):
    """PaliGemma needs an image in every request; the others get both kinds."""
    candidates = build_requests(with_images=True, slot=slot, new=MAX_NEW_TOKENS)
    needs_image = family == "paligemma"
    return [r for r in candidates if r.chat.images] if needs_image else candidates


def processor_inputs(hf_backend, request, after=""):
    """What transformers' own processor makes of the prompt followed by `after`."""
    layout = hf_backend.generator.chat_tokenizer
    prompt = layout.render_prompt(request.chat)
    special = layout.adds_special(prompt.text)
    options = {"return_tensors": "pt", "add_special_tokens": special}
    if not prompt.images:
        return layout.tokenizer(prompt.text + after, **options)
    images = [load_noise_image(p) for p in prompt.images]
    encoded = layout.processor(text=[prompt.text + after], images=[images], **options)
    encoded.pop("labels", None)
    return encoded


@torch.inference_mode()
def generate_alone(hf_backend, request, after="", new=MAX_NEW_TOKENS):
    """Words that `generate` adds, alone and without any of our code."""
    encoded = processor_inputs(hf_backend, request, after)
    ends = sorted(hf_backend.generator.engine.end_ids)
    model = hf_backend.generator.engine.model
    out = model.generate(**encoded, max_new_tokens=new, do_sample=False, eos_token_id=ends)
    ids = out[0, encoded["input_ids"].shape[1] :].tolist()
    return [i for i in ids if i not in ends]


@torch.inference_mode()
def option_logprob(hf_backend, request, option):
    """Of an option after prompt and lead, from one pass without a cache."""
    n_prefix = processor_inputs(hf_backend, request, SLOT.prefix)["input_ids"].shape[1]
    full = processor_inputs(hf_backend, request, SLOT.prefix + option)
    logp = hf_backend.generator.engine.model(**full).logits[0].float().log_softmax(-1)
    ids = full["input_ids"][0]
    return sum(float(logp[i - 1, ids[i]]) for i in range(n_prefix, len(ids)))


@pytest.mark.parametrize("family", FAMILIES)
def test_free_text_equals_generate_alone(family):
    hf_backend = make_backend(family)
    layout = hf_backend.generator.chat_tokenizer
    batch = family_requests(family, slot=None)
    for request, completion in zip(batch, hf_backend.complete(batch), strict=True):
        assert completion.error == ""
        assert completion.text == layout.decode(generate_alone(hf_backend, request), ())
        assert (
            completion.prompt_tokens == processor_inputs(hf_backend, request)["input_ids"].shape[1]
        )


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "paligemma"])
def test_slot_completion_equals_model_alone(family):
    hf_backend = make_backend(family)
    batch = family_requests(family, slot=SLOT)
    for request, completion in zip(batch, hf_backend.complete(batch), strict=True):
        expected = {o: option_logprob(hf_backend, request, o) for o in SLOT.options}
        assert completion.option_logprobs == pytest.approx(expected, abs=2e-3)
        best = max(completion.option_logprobs, key=completion.option_logprobs.__getitem__)
        prefix = SLOT.prefix + best + SLOT.suffix
        assert completion.text.startswith(prefix)
        continuation = completion.text.removeprefix(prefix)
        assert (
            continuation
            == hf_backend.generator.chat_tokenizer.decode(
                generate_alone(hf_backend, request, prefix, MAX_NEW_TOKENS - 1), ()
            )[: len(continuation)]
        )
        assert completion.notes["form"] == "slot"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [1, 3, 16])
def test_shared_and_unshared_paths_agree_at_any_batch_size(family, size):
    batch = family_requests(family, slot=SLOT)
    shared = make_backend(family, size=size).complete(batch)
    plain = make_backend(family, share=False, size=4).complete(batch)
    assert [c.text for c in shared] == [c.text for c in plain]
    assert [c.finish_reason for c in shared] == [c.finish_reason for c in plain]
    assert [c.new_tokens for c in shared] == [c.new_tokens for c in plain]


@pytest.mark.parametrize("family", FAMILIES)
def test_note_states_whether_prefix_was_shared_and_why_not(family):
    batch = family_requests(family, slot=SLOT)[:2]
    note = "shared" if family in SHARED else f"not shared ({UNSHARED_REASONS[family]})"
    assert {c.notes["prefix"] for c in make_backend(family).complete(batch)} == {note}
    unshared = make_backend(family, share=False).complete(batch)
    assert all(c.notes["prefix"].startswith("not shared (") for c in unshared)


@pytest.mark.parametrize("family", sorted(SHARED))
def test_shared_prefix_is_computed_once(family):
    hf_backend = make_backend(family, size=16)
    token_counts = []
    hf_backend.generator.engine.model.register_forward_pre_hook(
        lambda _, __, given: token_counts.append(given["input_ids"].numel()), with_kwargs=True
    )
    batch = family_requests(family, slot=SLOT)
    prompts = sum(c.prompt_tokens for c in hf_backend.complete(batch))
    hf_backend.generator.engine.model._forward_pre_hooks.clear()
    hf_backend.generator.engine.model._forward_pre_hooks_with_kwargs.clear()
    assert sum(token_counts) < 0.7 * (prompts + MAX_NEW_TOKENS * len(batch))


@pytest.mark.parametrize("family", [f for f in VISION_FAMILIES if f != "paligemma"])
def test_image_token_count_equals_processor(family):
    hf_backend = make_backend(family)
    for request in build_requests(with_images=True, slot=None):
        total, cost = hf_backend.count_tokens(request.chat)
        assert total == processor_inputs(hf_backend, request)["input_ids"].shape[1]
        assert (cost > 0) == bool(request.chat.images)
