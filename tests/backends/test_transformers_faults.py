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
from gen_msa.chat import Choice, Request
from gen_msa.errors import UserError
from gen_msa.media import PictureProblem
from tests.backends.chats import SLOT, ask, asked, look
from tests.fixtures.tiny_models import tiny_model


def backend(family="llama", *, model=None, **options):
    tiny = tiny_model(family)
    settings = BackendOptions(**{"batch_size": 8, **options})
    return TransformersBackend.of(model or tiny.model, tiny.processor, settings, "tiny", look)


def copied(family="llama"):
    return copy.deepcopy(tiny_model(family).model)


def test_it_is_registered_under_its_files_name():
    assert backends["transformers"] is TransformersBackend


def test_a_picture_that_cannot_be_had_fails_its_own_requests_only():
    tiny = tiny_model("idefics3")

    def blind(picture):
        if picture.sha256 == "1":
            raise PictureProblem("missing", picture.path, "it is gone", "bring it back")
        return look(picture)

    kind = TransformersBackend.of(tiny.model, tiny.processor, BackendOptions(), "tiny", blind)
    found = asked(pictures=True)
    said = kind.complete(found)
    whole = backend("idefics3").complete(found)
    for request, one, other in zip(found, said, whole, strict=True):
        gone = any(p.sha256 == "1" for p in request.chat.pictures)
        assert (one.finish_reason == "error") == gone
        assert one.text == ("" if gone else other.text)
        assert ("PictureProblem" in one.error) == gone


def test_a_request_too_long_for_the_model_is_an_error_of_its_own():
    said = backend().complete([ask("food " * 4000), ask("food")])
    assert [c.finish_reason for c in said] == ["error", "length"]
    assert "do not fit" in said[0].error


@pytest.mark.parametrize("family", ["llama", "idefics3", "qwen2_5_vl"])
def test_a_batch_that_runs_out_of_memory_is_halved_and_says_so(family):
    model = copied(family)
    found = asked(pictures=True)
    expected = [c.text for c in backend(family).complete(found)]
    kind = backend(family, model=model)

    def small(_, __, given):
        if len(given["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(small, with_kwargs=True)
    said = kind.complete(found)
    assert [c.text for c in said] == expected
    assert any("out of memory" in c.notes.get("batch", "") for c in said)


def test_memory_that_runs_out_in_the_middle_loses_no_answer():
    model = copied()
    kind = backend(model=model)
    expected = [c.text for c in backend().complete(asked())]
    calls = iter(range(10_000))

    def sometimes(_, __, given):
        if next(calls) == 12 and len(given["input_ids"]) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    model.register_forward_pre_hook(sometimes, with_kwargs=True)
    assert [c.text for c in kind.complete(asked())] == expected


def test_one_request_that_is_too_big_for_memory_is_an_error():
    model = copied()
    kind = backend(model=model)

    def never(_, __, given):
        raise MemoryError

    model.register_forward_pre_hook(never, with_kwargs=True)
    said = kind.complete(asked()[:2])
    assert {c.finish_reason for c in said} == {"error"}
    assert {c.error for c in said} == {"MemoryError: out of memory for one request"}


def test_an_error_that_is_not_about_memory_is_not_swallowed():
    model = copied()
    kind = backend(model=model)

    def broken(_, __, given):
        raise RuntimeError("shapes do not match")

    model.register_forward_pre_hook(broken, with_kwargs=True)
    with pytest.raises(RuntimeError, match="shapes"):
        kind.complete(asked())


def test_scores_that_are_not_numbers_are_an_error_not_an_answer():
    model = copied()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    said = backend(model=model).complete([ask("food"), ask("food", slot=None)])
    assert {c.finish_reason for c in said} == {"error"}
    assert all("not numbers" in c.error and c.text == "" for c in said)


def test_an_answer_stops_at_the_end_token_and_nothing_trails_it():
    request = ask("the food is fine", slot=None, new=8)
    long = backend().complete([request])[0]
    model = copied()
    prompt = backend().session.layout.prompt(request.chat).ids
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0].tolist()
    model.generation_config.eos_token_id = [ids[len(prompt) + 3]]
    short = backend(model=model).complete([request])[0]
    assert (short.finish_reason, long.finish_reason) == ("stop", "length")
    assert long.text.startswith(short.text)
    assert short.new_tokens < long.new_tokens == 8


def test_the_budget_counts_what_the_model_says_itself():
    for new in (1, 2, 5):
        said = backend().complete([ask("food", new=new)])[0]
        slot = backend().session.layout.row(0, ask("food")).slot
        best = max(said.option_logprobs, key=said.option_logprobs.__getitem__)
        pick = SLOT.options.index(best)
        free = max(new - slot.scored[pick], 0)
        assert said.new_tokens == len(slot.forced[pick]) + free
        assert said.text.startswith(SLOT.lead + best + SLOT.then)
        assert said.finish_reason == "length"


def test_rows_with_and_without_slots_and_budgets_of_their_own_go_together():
    mixed = [ask("food", new=n, slot=SLOT if n % 2 else None) for n in (1, 2, 3, 9, 4)]
    kind = backend()
    together = kind.complete(mixed)
    assert [c.text for c in together] == [kind.complete([r])[0].text for r in mixed]
    assert [c.notes["form"] for c in together] == ["slot", "free", "slot", "slot", "free"]


def test_a_text_model_leaves_pictures_out_and_says_so():
    said = backend().complete([ask("food", seen=1)])[0]
    assert said.notes["pictures"] == "not shown"
    assert backend().sees_pictures is False
    assert backend("llava").sees_pictures is True
    assert backend().lists_aspects is False


def test_sampling_is_not_offered_and_that_is_noted():
    request = Request(chat=ask("food").chat, max_new_tokens=2, temperature=0.7)
    assert backend().complete([request])[0].notes["temperature"].startswith("0 ")


def test_options_of_many_tokens_are_scored_whole():
    choice = Choice(lead="It is", options=(" positive", " quite negative", " x"), then=".")
    one, two = (backend(share_prefix=s).complete([ask("food", slot=choice)])[0] for s in (1, 0))
    assert one.option_logprobs == pytest.approx(two.option_logprobs, abs=1e-4)
    assert one.text == two.text


def test_a_model_that_cannot_be_driven_is_refused_by_name():
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
        backend(model=hf.T5ForConditionalGeneration(config))


RUN = """
import hashlib, sys
from tests.backends.test_transformers_faults import backend, asked
for family in ("llama", "idefics3"):
    said = backend(family).complete(asked(pictures=True))
    print(hashlib.sha256("".join(c.model_dump_json() for c in said).encode()).hexdigest())
"""


def test_fault_23_the_same_bytes_in_three_processes_with_three_hash_seeds():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUN],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1", "4242")
    ]
    printed = {run.communicate(timeout=240)[0] for run in runs}
    assert len(printed) == 1
    assert len(printed.pop().split()) == 2
    assert hashlib.sha256(b"").hexdigest() not in printed
