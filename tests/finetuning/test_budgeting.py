"""The facts of what is prepared: every token told once, the budget counted as the model is fed."""

import pytest

from gen_msa.finetuning import batches, budgeting
from gen_msa.finetuning.preparing import prepare, why_separate
from gen_msa.finetuning.recipe import Data, Recipe
from tests.fixtures.tiny_models import tiny_model


def recipe(**changes):
    told = {
        "model_name_or_path": "tiny",
        "output_dir": "out",
        "data": (Data(source="tiny:all", weight=2, cues={}),),
        "per_device_train_batch_size": 3,
    }
    return Recipe(**{**told, **changes})


def prepared(family="llama", **changes):
    tiny = tiny_model(family)
    said = recipe(**changes)
    apart = why_separate(said, tiny.model)
    return prepare(said, tiny.model, tiny.processor, separate=apart)


def rows_of(found):
    return [r for post in found.lines for line in post for r in line.rows]


def test_the_words_of_all_tokens_make_up_the_row():
    found = prepared()
    tokenizer = found.encoder.layout.tokenizer
    rows = rows_of(found)[:20]
    for row in rows:
        words = budgeting.words(row, tokenizer)
        assert len(words) == len(row.ids)
        assert "".join(words) == tokenizer.decode(row.ids, clean_up_tokenization_spaces=False)
    assert any(ord(c) > 127 for r in rows for c in "".join(budgeting.words(r, tokenizer)))


def test_the_row_that_is_shown_has_its_fields_on_its_own_words():
    shown = budgeting.shown(prepared())
    said = {
        name: "".join(t for t, f in zip(shown.tokens, shown.fields, strict=True) if f == name)
        for name in ("label", "explanation")
    }
    assert said["label"].strip() in ("negative", "neutral", "positive")
    assert len(said["explanation"].split()) > 3
    assert len(shown.tokens) == len(shown.fields) == len(shown.weights)
    assert all((w > 0) == (f is not None) for w, f in zip(shown.weights, shown.fields, strict=True))


def test_the_budget_counts_what_the_model_is_fed():
    found, settings = prepared(), recipe()
    b = budgeting.budget(found, settings)
    apart = prepared(levers={"branches": False})
    alone = budgeting.budget(apart, recipe(levers={"branches": False}))
    rows = [len(r.ids) for r in rows_of(apart)]
    assert (alone.tokens, alone.shared) == (sum(rows), 0)
    assert b.tokens == pytest.approx(alone.tokens * (1 - b.shared))
    assert 0.2 < b.shared < 0.9
    assert (b.posts, b.rows) == (len(found.lines), len(rows))
    assert b.longest == max(found.lengths)
    assert budgeting.tokens_of_an_epoch(found, settings) == 2 * b.tokens
    assert budgeting.rows_of_an_epoch(found, settings) == 2 * b.rows


def test_padding_is_that_of_the_batches_that_are_made():
    found, settings = prepared(), recipe()
    places = filled = 0
    for step in batches.epoch(found.lengths, found.sources, settings, 0):
        lines = [line for post in step for line in found.lines[post]]
        longest = max(len(line.ids) for line in lines)
        # Batches are padded to a multiple of eight.
        places += len(lines) * (longest + -longest % 8)
        filled += sum(len(line.ids) for line in lines)
    assert budgeting.budget(found, settings).padding == pytest.approx(1 - filled / places)


def test_rows_that_do_not_fit_are_named_and_the_rest_is_counted():
    everything = prepared()
    whole = budgeting.budget(everything, recipe())
    limit = sorted(len(r.ids) for r in rows_of(everything))[-10]
    b = budgeting.budget(prepared(max_length=limit), recipe(max_length=limit))
    assert b.limit == limit
    long = [name for name, reason in b.left_out if f"max_length={limit}" in reason]
    assert 1 <= len(long) <= 9
    assert b.rows + len(long) == whole.rows
    assert all(name.startswith("tiny:all/tiny-") for name in long)


def test_picture_tokens_are_those_of_the_placeholders():
    b = budgeting.budget(prepared("idefics3"), recipe())
    assert 0 < b.picture_tokens < b.tokens
