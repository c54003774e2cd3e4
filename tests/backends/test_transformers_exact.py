"""Shared prefixes and batches change no word: against transformers' own generate, one at a time."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.backends import BackendOptions
from gen_msa.backends.transformers import TransformersBackend
from tests.backends.chats import SLOT, asked, look
from tests.fixtures.tiny_models import FAMILIES, PICTURED, tiny_model

SHARED = {"llama", "qwen2", "llava", "idefics3", "llava_onevision", "internvl"}
REASONS = {
    "mistral": "sliding window",
    "gemma3": "bidirectional attention",
    "paligemma": "bidirectional attention",
    "qwen2_5_vl": "mrope",
    "qwen3_vl": "mrope",
}
NEW = 10


def backend(family, *, share=True, size=5):
    tiny = tiny_model(family)
    options = BackendOptions(batch_size=size, share_prefix=share)
    return TransformersBackend.of(tiny.model, tiny.processor, options, "tiny", look)


def requests(family, slot):
    """PaliGemma cannot be asked without a picture; the others get both kinds."""
    found = asked(pictures=True, slot=slot, new=NEW)
    wants = family == "paligemma"
    return [r for r in found if r.chat.pictures] if wants else found


def inputs(kind, request, after=""):
    """What transformers' own processor makes of the prompt followed by `after`."""
    layout = kind.session.layout
    prompt = layout.prompt(request.chat)
    special = layout.adds_special(prompt.text)
    more = {"return_tensors": "pt", "add_special_tokens": special}
    if not prompt.pictures:
        return layout.tokenizer(prompt.text + after, **more)
    images = [look(p) for p in prompt.pictures]
    made = layout.processor(text=[prompt.text + after], images=[images], **more)
    made.pop("labels", None)
    return made


@torch.inference_mode()
def generated(kind, request, after="", new=NEW):
    """Words that `generate` adds, alone and without any of our code."""
    given = inputs(kind, request, after)
    ends = sorted(kind.session.engine.ends)
    model = kind.session.engine.model
    out = model.generate(**given, max_new_tokens=new, do_sample=False, eos_token_id=ends)
    ids = out[0, given["input_ids"].shape[1] :].tolist()
    return [i for i in ids if i not in ends]


@torch.inference_mode()
def log_probability(kind, request, option):
    """Of an option after prompt and lead, from one pass without a cache."""
    short = inputs(kind, request, SLOT.lead)["input_ids"].shape[1]
    whole = inputs(kind, request, SLOT.lead + option)
    logp = kind.session.engine.model(**whole).logits[0].float().log_softmax(-1)
    ids = whole["input_ids"][0]
    return sum(float(logp[i - 1, ids[i]]) for i in range(short, len(ids)))


@pytest.mark.parametrize("family", FAMILIES)
def test_free_text_is_word_for_word_what_generate_says_alone(family):
    kind = backend(family)
    layout = kind.session.layout
    found = requests(family, slot=None)
    for request, said in zip(found, kind.complete(found), strict=True):
        assert said.error == ""
        assert said.text == layout.decode(generated(kind, request), ())
        assert said.prompt_tokens == inputs(kind, request)["input_ids"].shape[1]


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "paligemma"])
def test_a_slot_is_filled_and_goes_on_as_the_model_alone_would(family):
    kind = backend(family)
    found = requests(family, slot=SLOT)
    for request, said in zip(found, kind.complete(found), strict=True):
        truth = {o: log_probability(kind, request, o) for o in SLOT.options}
        assert said.option_logprobs == pytest.approx(truth, abs=2e-3)
        best = max(said.option_logprobs, key=said.option_logprobs.__getitem__)
        head = SLOT.lead + best + SLOT.then
        assert said.text.startswith(head)
        free = said.text.removeprefix(head)
        assert (
            free
            == kind.session.layout.decode(generated(kind, request, head, NEW - 1), ())[: len(free)]
        )
        assert said.notes["form"] == "slot"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [1, 3, 16])
def test_shared_and_plain_paths_say_the_same_at_any_batch_size(family, size):
    found = requests(family, slot=SLOT)
    shared = backend(family, size=size).complete(found)
    plain = backend(family, share=False, size=4).complete(found)
    assert [c.text for c in shared] == [c.text for c in plain]
    assert [c.finish_reason for c in shared] == [c.finish_reason for c in plain]
    assert [c.new_tokens for c in shared] == [c.new_tokens for c in plain]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_note_says_whether_prefixes_were_shared_and_why_not(family):
    found = requests(family, slot=SLOT)[:2]
    note = "shared" if family in SHARED else f"plain ({REASONS[family]})"
    assert {c.notes["prefix"] for c in backend(family).complete(found)} == {note}
    asked_plain = backend(family, share=False).complete(found)
    assert all(c.notes["prefix"].startswith("plain (") for c in asked_plain)


@pytest.mark.parametrize("family", sorted(SHARED))
def test_a_shared_prefix_is_read_once(family):
    kind = backend(family, size=16)
    read = []
    kind.session.engine.model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    found = requests(family, slot=SLOT)
    prompts = sum(c.prompt_tokens for c in kind.complete(found))
    kind.session.engine.model._forward_pre_hooks.clear()
    kind.session.engine.model._forward_pre_hooks_with_kwargs.clear()
    assert sum(read) < 0.7 * (prompts + NEW * len(found))


@pytest.mark.parametrize("family", [f for f in PICTURED if f != "paligemma"])
def test_picture_tokens_are_those_of_the_processor(family):
    kind = backend(family)
    for request in asked(pictures=True, slot=None):
        total, cost = kind.count_tokens(request.chat)
        assert total == inputs(kind, request)["input_ids"].shape[1]
        assert (cost > 0) == bool(request.chat.pictures)
