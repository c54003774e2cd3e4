"""A packed sequence gives the loss of separate rows, and no branch sees another."""

import functools

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from gen_msa.finetuning.batches import block_mask
from gen_msa.finetuning.prepare import packing_unsupported_reason
from gen_msa.finetuning.tokenization import MIN_SHARED_TOKENS, pack, unpacked
from gen_msa.types import Polarity
from tests.finetuning.tiny_peft import build_recipe
from tests.finetuning.tiny_trainer import (
    LONG_EXPLANATION,
    TinyTrainer,
    gradient_norm,
    max_gradient_difference,
)

PACKABLE = ("llama", "qwen2", "llava", "idefics3")
WITH_IMAGES = ("llava", "idefics3")


@functools.cache
def get_trainer(family, attention="sdpa"):
    return TinyTrainer(family, attention=attention)


def three_posts(trainer):
    """Three posts of one, three and four aspects; with images if they are supported."""
    image_options = [
        {"image": i} if trainer.chat_tokenizer.supports_images else {} for i in (1, 2, 5)
    ]
    return (
        trainer.make_post((2,), **image_options[0]),
        trainer.make_post(**image_options[1]),
        trainer.make_post((0, 1, 2, 3), **image_options[2]),
    )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", PACKABLE)
def test_packed_loss_and_gradients_equal_separate_rows(family, attention):
    trainer = get_trainer(family, attention)
    assert packing_unsupported_reason(build_recipe(), trainer.model) == ""
    posts_ = three_posts(trainer)
    packed, separate = (
        trainer.make_sequences(*posts_),
        trainer.make_sequences(*posts_, packed=False),
    )
    assert (len(packed), len(separate)) == (3, 8)
    assert [s.is_packed for s in packed] == [False, True, True]
    loss, gradients = trainer.gradients(trainer.make_batch(packed))
    separate_loss, separate_gradients = trainer.gradients(trainer.make_batch(separate))
    assert loss == pytest.approx(separate_loss, rel=1e-5)
    assert max_gradient_difference(gradients, separate_gradients) <= 1e-4 * gradient_norm(
        separate_gradients
    )
    assert gradient_norm(separate_gradients) > 0.1


@pytest.mark.parametrize("family", PACKABLE)
def test_shared_prefix_is_fed_once(family):
    trainer = get_trainer(family)
    rows = trainer.make_post((0, 1, 2, 3), **({"image": 1} if family in WITH_IMAGES else {}))
    (sequence,) = pack(rows)
    n_packed, n_separate = len(sequence.ids), sum(len(r.ids) for r in rows)
    n_shared = sequence.segments.count(0)
    assert n_packed == n_separate - 3 * n_shared
    assert n_shared > 0.5 * min(r.prompt_length for r in rows)
    assert n_shared >= MIN_SHARED_TOKENS


def test_packed_sequence_holds_every_row_with_its_positions():
    trainer = get_trainer("llama")
    rows = trainer.make_post((0, 1, 2, 3))
    (sequence,) = pack(rows)
    for k, (row, (start, end)) in enumerate(zip(rows, sequence.answers, strict=True), start=1):
        indices = [i for i, s in enumerate(sequence.segments) if s in (0, k)]
        assert [sequence.ids[i] for i in indices] == list(row.ids)
        assert [sequence.positions[i] for i in indices] == list(range(len(row.ids)))
        assert sequence.ids[start:end] == row.ids[row.prompt_length :]


@pytest.mark.parametrize("family", PACKABLE)
def test_branches_do_not_attend_to_each_other(family):
    trainer = get_trainer(family)
    image_options = {"image": 1} if family in WITH_IMAGES else {}
    batch = trainer.make_batch(pack(trainer.make_post(**image_options)))
    (sequence,) = pack(trainer.make_post(**image_options))
    before = trainer.logits(batch)
    first_branch = [i for i, s in enumerate(sequence.segments) if s == 1]
    ids = batch.inputs["input_ids"]
    ids[0, first_branch] = (ids[0, first_branch] + 5) % 250
    after = trainer.logits(batch)
    is_changed = torch.tensor([p in first_branch for p in batch.label_positions.tolist()])
    assert torch.equal(before[~is_changed], after[~is_changed])
    assert (before[is_changed] - after[is_changed]).abs().max() > 0.01


def test_padding_changes_no_logits_and_no_mask_row_is_empty():
    trainer = get_trainer("llama")
    short, long = trainer.make_post((0, 1)), trainer.make_post((0, 1, 2, 3))
    mask = block_mask([*pack(short), *pack(long)], len(pack(long)[0].ids))
    assert mask.shape[:2] == (2, 1)
    assert bool((mask == 0).any(-1).all())
    separate_logits = trainer.logits(trainer.make_batch(pack(short)))
    batched_logits = trainer.logits(trainer.make_batch([*pack(short), *pack(long)]))
    assert torch.allclose(separate_logits, batched_logits[: len(separate_logits)], atol=1e-4)


def test_unsupported_attention_is_reported_by_name():
    assert (
        packing_unsupported_reason(build_recipe(), get_trainer("mistral").model) == "sliding window"
    )
    for family, feature in (("qwen2_5_vl", "mrope"), ("gemma3", "bidirectional attention")):
        assert packing_unsupported_reason(build_recipe(), get_trainer(family).model) == feature


def test_disabled_packing_and_flash_attention_pack_nothing():
    model = get_trainer("llama").model
    disabled = build_recipe(optimizations={"prefix_packing": False})
    assert packing_unsupported_reason(disabled, model) == "disabled by the recipe"
    flash = build_recipe(attn_implementation="flash_attention_2")
    assert packing_unsupported_reason(flash, model) == "flash_attention_2 takes no block mask"


def test_rows_with_different_images_are_not_packed():
    trainer = get_trainer("idefics3")
    rows = [
        trainer.example_tokenizer.tokenize(trainer.make_example(0, image=1)),
        trainer.example_tokenizer.tokenize(trainer.make_example(1, image=2)),
        trainer.example_tokenizer.tokenize(trainer.make_example(2)),
        trainer.example_tokenizer.tokenize(trainer.make_example(3, image=1)),
    ]
    sequences = pack(rows)
    assert [len(s.rows) for s in sequences] == [2, 1, 1]
    assert [s.rows[0] for s in sequences] == rows[:3]


def test_rows_with_short_shared_prefix_are_not_packed():
    trainer = get_trainer("llama")
    row = trainer.example_tokenizer.tokenize(trainer.make_example(0))
    other_row = trainer.example_tokenizer.tokenize(
        trainer.make_example(0, text="soup, soup and screen")
    )
    assert len(pack([row, row])) == 1
    sequences = pack([row, other_row])
    assert sum(len(s.rows) for s in sequences) == 2
    assert all(s.segments.count(0) >= MIN_SHARED_TOKENS for s in sequences)


def test_shared_prefix_ends_before_the_answer():
    trainer = get_trainer("llama")
    rows = [
        trainer.example_tokenizer.tokenize(trainer.make_example(0, p, LONG_EXPLANATION))
        for p in (Polarity.POSITIVE, Polarity.NEGATIVE)
    ]
    (sequence,) = pack(rows)
    assert sequence.segments.count(0) == rows[0].prompt_length - 1
    gradients = trainer.gradients(trainer.make_batch([sequence]))[1]
    separate_gradients = trainer.gradients(trainer.make_batch([unpacked(r) for r in rows]))[1]
    assert max_gradient_difference(gradients, separate_gradients) <= 1e-4 * gradient_norm(
        separate_gradients
    )
