"""What goes wrong stays where it is: requests, memory, scores, limits; and the same bytes again."""

import copy
import hashlib
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
import transformers as hf

from gen_msa.backends import BackendOptions, backends
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.chat import ChoiceSlot, Request
from gen_msa.errors import UserError
from gen_msa.media import ImageError
from tests.backends.sample_requests import SLOT, build_request, build_requests, load_noise_image
from tests.fixtures.tiny_models import tiny_model


def make_backend(family="llama", *, model=None, **options):
    tiny = tiny_model(family)
    settings = BackendOptions(**{"batch_size": 8, **options})
    return TransformersBackend.from_model(
        model or tiny.model, tiny.processor, settings, "tiny", load_noise_image
    )


def copy_model(family="llama"):
    return copy.deepcopy(tiny_model(family).model)


def test_transformers_backend_is_registered():
    assert backends["transformers"] is TransformersBackend


def test_unreadable_image_fails_only_its_own_requests():
    tiny = tiny_model("idefics3")

    def load_image(image):
        if image.sha256 == "1":
            raise ImageError("missing", image.path, "it is gone", "bring it back")
        return load_noise_image(image)

    hf_backend = TransformersBackend.from_model(
        tiny.model, tiny.processor, BackendOptions(), "tiny", load_image
    )
    requests = build_requests(with_images=True)
    completions = hf_backend.complete(requests)
    expected = make_backend("idefics3").complete(requests)
    for request, actual, reference in zip(requests, completions, expected, strict=True):
        missing = any(p.sha256 == "1" for p in request.chat.images)
        assert (actual.finish_reason == "error") == missing
        assert actual.text == ("" if missing else reference.text)
        assert ("ImageError" in actual.error) == missing


def test_too_long_request_is_an_error_completion():
    completions = make_backend().complete([build_request("food " * 4000), build_request("food")])
    assert [c.finish_reason for c in completions] == ["error", "length"]
    assert "exceed the model's context" in completions[0].error


@pytest.mark.parametrize("family", ["llama", "idefics3", "qwen2_5_vl"])
def test_batch_out_of_memory_is_halved_and_noted(family):
    model = copy_model(family)
    requests = build_requests(with_images=True)
    expected = [c.text for c in make_backend(family).complete(requests)]
    hf_backend = make_backend(family, model=model)

    def limit_batch(_, __, kwargs):
        if len(kwargs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(limit_batch, with_kwargs=True)
    completions = hf_backend.complete(requests)
    assert [c.text for c in completions] == expected
    assert any("out of memory" in c.notes.get("batch", "") for c in completions)


def test_out_of_memory_during_decoding_loses_no_answer():
    model = copy_model()
    hf_backend = make_backend(model=model)
    expected = [c.text for c in make_backend().complete(build_requests())]
    calls = iter(range(10_000))

    def fail_once(_, __, kwargs):
        if next(calls) == 12 and len(kwargs["input_ids"]) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    model.register_forward_pre_hook(fail_once, with_kwargs=True)
    assert [c.text for c in hf_backend.complete(build_requests())] == expected


def test_request_too_big_for_memory_is_an_error_completion():
    model = copy_model()
    hf_backend = make_backend(model=model)

    def fail_always(_, __, kwargs):
        raise MemoryError

    model.register_forward_pre_hook(fail_always, with_kwargs=True)
    completions = hf_backend.complete(build_requests()[:2])
    assert {c.finish_reason for c in completions} == {"error"}
    assert {c.error for c in completions} == {"MemoryError: out of memory for one request"}


def test_other_runtime_errors_are_raised():
    model = copy_model()
    hf_backend = make_backend(model=model)

    def fail(_, __, kwargs):
        raise RuntimeError("shapes do not match")

    model.register_forward_pre_hook(fail, with_kwargs=True)
    with pytest.raises(RuntimeError, match="shapes"):
        hf_backend.complete(build_requests())


def test_non_finite_scores_are_an_error_completion():
    model = copy_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    completions = make_backend(model=model).complete(
        [build_request("food"), build_request("food", slot=None)]
    )
    assert {c.finish_reason for c in completions} == {"error"}
    assert all("NaN" in c.error and c.text == "" for c in completions)


def test_answer_stops_at_end_token():
    request = build_request("the food is fine", slot=None, new=8)
    full = make_backend().complete([request])[0]
    model = copy_model()
    prompt = make_backend().generator.chat_tokenizer.render_prompt(request.chat).ids
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0].tolist()
    model.generation_config.eos_token_id = [ids[len(prompt) + 3]]
    stopped = make_backend(model=model).complete([request])[0]
    assert (stopped.finish_reason, full.finish_reason) == ("stop", "length")
    assert full.text.startswith(stopped.text)
    assert stopped.new_tokens < full.new_tokens == 8


def test_token_budget_counts_only_generated_tokens():
    for new in (1, 2, 5):
        completion = make_backend().complete([build_request("food", new=new)])[0]
        slot = (
            make_backend().generator.chat_tokenizer.tokenize_request(0, build_request("food")).slot
        )
        best = max(completion.option_logprobs, key=completion.option_logprobs.__getitem__)
        option = SLOT.options.index(best)
        n_free = max(new - slot.n_scored[option], 0)
        assert completion.new_tokens == len(slot.option_tokens[option]) + n_free
        assert completion.text.startswith(SLOT.prefix + best + SLOT.suffix)
        assert completion.finish_reason == "length"


def test_mixed_slots_and_budgets_share_a_batch():
    mixed = [build_request("food", new=n, slot=SLOT if n % 2 else None) for n in (1, 2, 3, 9, 4)]
    hf_backend = make_backend()
    batched = hf_backend.complete(mixed)
    assert [c.text for c in batched] == [hf_backend.complete([r])[0].text for r in mixed]
    assert [c.notes["form"] for c in batched] == ["slot", "free", "slot", "slot", "free"]


def test_text_model_ignores_images_and_notes_it():
    completion = make_backend().complete([build_request("food", image_number=1)])[0]
    assert completion.notes["images"] == "not shown"
    assert make_backend().supports_images is False
    assert make_backend("llava").supports_images is True
    assert make_backend().can_list_aspects is False


def test_ignored_temperature_is_noted():
    request = Request(chat=build_request("food").chat, max_new_tokens=2, temperature=0.7)
    assert make_backend().complete([request])[0].notes["temperature"].startswith("0 ")


def test_multi_token_options_are_scored_completely():
    choice = ChoiceSlot(prefix="It is", options=(" positive", " quite negative", " x"), suffix=".")
    shared, unshared = (
        make_backend(share_prefix=s).complete([build_request("food", slot=choice)])[0]
        for s in (1, 0)
    )
    assert shared.option_logprobs == pytest.approx(unshared.option_logprobs, abs=1e-4)
    assert shared.text == unshared.text


def test_unsupported_architecture_is_refused():
    config = hf.T5Config(
        vocab_size=64,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    with pytest.raises(UserError, match="encoder-decoder"):
        make_backend(model=hf.T5ForConditionalGeneration(config))


RUN_SCRIPT = """
import hashlib, sys
from tests.backends.test_transformers_faults import build_requests, make_backend
for family in ("llama", "idefics3"):
    completions = make_backend(family).complete(build_requests(with_images=True))
    print(hashlib.sha256("".join(c.model_dump_json() for c in completions).encode()).hexdigest())
"""


def test_output_is_identical_across_processes_and_hash_seeds():
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN_SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1", "4242")
    ]
    outputs = {run.communicate(timeout=240)[0] for run in processes}
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 2
    assert hashlib.sha256(b"").hexdigest() not in outputs
