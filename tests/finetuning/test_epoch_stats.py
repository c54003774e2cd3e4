"""Statistics of an epoch: every token is counted once, and costs are those of the batches."""

import pytest

from gen_msa.finetuning import batches, run_log
from gen_msa.finetuning.prepare import packing_unsupported_reason, prepare
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe
from tests.fixtures.tiny_models import tiny_model


def build_recipe(**changes):
    defaults = {
        "model_name_or_path": "tiny",
        "output_dir": "out",
        "data": (FinetuneData(source="tiny:all", weight=2, cues={}),),
        "per_device_train_batch_size": 3,
    }
    return FinetuneRecipe(**{**defaults, **changes})


def prepare_run(family="llama", **changes):
    tiny = tiny_model(family)
    train_recipe = build_recipe(**changes)
    unpacked_reason = packing_unsupported_reason(train_recipe, tiny.model)
    return prepare(train_recipe, tiny.model, tiny.processor, unpacked_reason=unpacked_reason)


def tokenized_rows(prepared_run):
    return [r for post in prepared_run.sequences for sequence in post for r in sequence.rows]


def test_token_texts_concatenate_to_the_row():
    prepared_run = prepare_run()
    tokenizer = prepared_run.example_tokenizer.chat_tokenizer.tokenizer
    rows = tokenized_rows(prepared_run)[:20]
    for row in rows:
        token_strings = run_log.token_texts(row, tokenizer)
        assert len(token_strings) == len(row.ids)
        assert "".join(token_strings) == tokenizer.decode(
            row.ids, clean_up_tokenization_spaces=False
        )
    assert any(ord(c) > 127 for r in rows for c in "".join(run_log.token_texts(r, tokenizer)))


def test_token_preview_assigns_fields_to_their_text():
    preview = run_log.token_preview(prepare_run())
    text_by_field = {
        name: "".join(t for t, f in zip(preview.tokens, preview.fields, strict=True) if f == name)
        for name in ("label", "explanation")
    }
    assert text_by_field["label"].strip() in ("negative", "neutral", "positive")
    assert len(text_by_field["explanation"].split()) > 3
    assert len(preview.tokens) == len(preview.fields) == len(preview.weights)
    assert all(
        (w > 0) == (f is not None) for w, f in zip(preview.weights, preview.fields, strict=True)
    )


def test_epoch_stats_count_the_tokens_fed():
    prepared_run, settings = prepare_run(), build_recipe()
    stats = run_log.epoch_stats(prepared_run, settings)
    separate_run = prepare_run(optimizations={"prefix_packing": False})
    separate_stats = run_log.epoch_stats(
        separate_run, build_recipe(optimizations={"prefix_packing": False})
    )
    row_lengths = [len(r.ids) for r in tokenized_rows(separate_run)]
    assert (separate_stats.tokens, separate_stats.saved_share) == (sum(row_lengths), 0)
    assert stats.tokens == pytest.approx(separate_stats.tokens * (1 - stats.saved_share))
    assert 0.2 < stats.saved_share < 0.9
    assert (stats.posts, stats.rows) == (len(prepared_run.sequences), len(row_lengths))
    assert stats.longest == max(prepared_run.lengths)
    assert run_log.tokens_per_epoch(prepared_run, settings) == 2 * stats.tokens
    assert run_log.rows_per_epoch(prepared_run, settings) == 2 * stats.rows


def test_padding_share_matches_the_batches():
    prepared_run, settings = prepare_run(), build_recipe()
    n_positions = n_tokens = 0
    for step in batches.epoch_steps(prepared_run.lengths, prepared_run.sources, settings, 0):
        sequences = [sequence for post in step for sequence in prepared_run.sequences[post]]
        longest = max(len(sequence.ids) for sequence in sequences)
        # Batches are padded to a multiple of eight.
        n_positions += len(sequences) * (longest + -longest % 8)
        n_tokens += sum(len(sequence.ids) for sequence in sequences)
    assert run_log.epoch_stats(prepared_run, settings).padding_share == pytest.approx(
        1 - n_tokens / n_positions
    )


def test_too_long_rows_are_named_and_left_out_of_counts():
    unlimited_run = prepare_run()
    unlimited_stats = run_log.epoch_stats(unlimited_run, build_recipe())
    limit = sorted(len(r.ids) for r in tokenized_rows(unlimited_run))[-10]
    stats = run_log.epoch_stats(prepare_run(max_length=limit), build_recipe(max_length=limit))
    assert stats.max_length == limit
    too_long = [name for name, reason in stats.left_out if f"max_length={limit}" in reason]
    assert 1 <= len(too_long) <= 9
    assert stats.rows + len(too_long) == unlimited_stats.rows
    assert all(name.startswith("tiny:all/tiny-") for name in too_long)


def test_image_tokens_count_the_placeholders():
    stats = run_log.epoch_stats(prepare_run("idefics3"), build_recipe())
    assert 0 < stats.image_tokens < stats.tokens
