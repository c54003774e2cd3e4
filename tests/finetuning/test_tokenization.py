"""Nothing is truncated, every answer token has its field, and tokens equal those of inference."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa import prompting
from gen_msa.backends.hf.chat_tokens import common_prefix_length
from gen_msa.errors import UserError
from gen_msa.finetuning.tokenization import _token_fields, eos_token
from gen_msa.prompting import TargetSegment
from gen_msa.types import Polarity
from tests.finetuning.tiny_trainer import LONG_EXPLANATION, TinyTrainer
from tests.fixtures.tiny_models import FAMILIES

TEXT_FAMILIES = ("llama", "qwen2", "mistral")
ASPECT_PROMPTS = [
    p for p in map(prompting.load_prompt, prompting.prompt_names()) if p.task == "aspect"
]


@pytest.fixture(scope="module")
def make_trainer():
    trainers = {}
    return lambda name: trainers.setdefault(name, TinyTrainer(name))


@pytest.mark.parametrize("family", FAMILIES)
def test_too_long_row_is_rejected_and_never_truncated(family, make_trainer):
    trainer = make_trainer(family)
    image = 1 if trainer.chat_tokenizer.supports_images else None
    row = trainer.make_example(1, explanation=LONG_EXPLANATION, image=image)
    tokenized = trainer.example_tokenizer.tokenize(row)
    n = len(tokenized.ids)
    shorter_trainer = TinyTrainer(family, max_length=n - 1)
    with pytest.raises(UserError, match=f"{n} tokens do not fit into max_length={n - 1}"):
        shorter_trainer.example_tokenizer.tokenize(row)
    assert TinyTrainer(family, max_length=n).example_tokenizer.tokenize(row).ids == tokenized.ids


@pytest.mark.parametrize("family", FAMILIES)
def test_full_answer_and_eos_are_tokenized(family, make_trainer):
    trainer = make_trainer(family)
    tokenized = trainer.example_tokenizer.tokenize(
        trainer.make_example(2, Polarity.NEGATIVE, LONG_EXPLANATION)
    )
    *answer, end = tokenized.ids[tokenized.prompt_length :]
    assert (
        trainer.chat_tokenizer.tokenizer.decode(answer)
        == f"Sentiment: negative\nWhy: {LONG_EXPLANATION}"
    )
    assert end == eos_token(trainer.chat_tokenizer) in trainer.chat_tokenizer.end_ids()
    assert tokenized.fields[-1] == "form"
    assert tokenized.fields.count("label") >= 1


@pytest.mark.parametrize("family", TEXT_FAMILIES)
@pytest.mark.parametrize("prompt", ASPECT_PROMPTS, ids=lambda p: p.name)
def test_prompt_tokens_equal_inference_prompt_tokens(family, prompt, make_trainer):
    trainer = make_trainer(family)
    row = trainer.make_example(0, prompt=prompt.name)
    tokenized = trainer.example_tokenizer.tokenize(row)
    expander_row = trainer.chat_tokenizer.tokenize_request(
        0, row.question.request.model_copy(update={"choice": None})
    )
    # Some tokenizers merge the first answer token with the last prompt token.
    assert common_prefix_length(tokenized.ids, expander_row.ids) >= len(expander_row.ids) - 1
    assert tokenized.prompt_length >= len(expander_row.ids) - 1


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_answer_without_explanation_has_no_eos(family, make_trainer):
    trainer = make_trainer(family)
    tokenized = trainer.example_tokenizer.tokenize(trainer.make_example(0, explanation=None))
    answer = trainer.chat_tokenizer.tokenizer.decode(tokenized.ids[tokenized.prompt_length :])
    assert answer == "Sentiment: positive"
    assert tokenized.ids[-1] not in trainer.chat_tokenizer.end_ids()
    assert tokenized.fields[-1] == "label"


@pytest.mark.parametrize("family", FAMILIES)
def test_control_strings_in_explanations_are_plain_text(family, make_trainer):
    trainer = make_trainer(family)
    control = sorted(trainer.chat_tokenizer.control_tokens)[:40]
    tokenized = trainer.example_tokenizer.tokenize(
        trainer.make_example(0, explanation=f"so {' '.join(control)} it is")
    )
    answer = tokenized.ids[tokenized.prompt_length :]
    assert not trainer.chat_tokenizer.control_ids.intersection(answer[:-1])


@settings(max_examples=30, deadline=None)
@given(
    explanation=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    family=st.sampled_from(TEXT_FAMILIES),
)
def test_answer_tokens_have_fields_in_answer_order(explanation, family):
    trainer = TRAINERS.setdefault(family, TinyTrainer(family))
    row = trainer.make_example(0, explanation=explanation)
    tokenized = trainer.example_tokenizer.tokenize(row)
    field_runs = [
        f for f, g in zip(tokenized.fields, (None, *tokenized.fields), strict=False) if f != g
    ]
    expected_fields = [p.field for p in row.target.segments] + ["form"] * row.target.complete
    assert field_runs == [
        f for f, g in zip(expected_fields, (None, *expected_fields), strict=False) if f != g
    ]
    answer = tokenized.ids[tokenized.prompt_length : len(tokenized.ids) - row.target.complete]
    answer_text = trainer.chat_tokenizer.tokenizer.decode(answer)
    if not trainer.chat_tokenizer.control_tokens & {answer_text} and "\ufffd" not in explanation:
        assert answer_text.replace("\u200b", "") == row.target.text.replace("\u200b", "")


TRAINERS = {}


def test_token_across_fields_belongs_to_its_last_character():
    segments = [
        TargetSegment("a:", "form"),
        TargetSegment(" b", "label"),
        TargetSegment("\nc", "form"),
    ]
    offsets = [(0, 4), (4, 6), (6, 9), (9, 10)]
    assert _token_fields(offsets, 4, segments) == ["form", "form", "form"]
    assert _token_fields([(0, 4), (4, 7), (7, 8), (8, 10)], 4, segments) == [
        "label",
        "label",
        "form",
    ]
