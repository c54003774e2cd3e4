"""From rows to tokens: nothing is cut, every answer token has its field, trained = read."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa import prompting
from gen_msa.backends.local.plan import common
from gen_msa.errors import UserError
from gen_msa.finetuning.encode import _fields, closing_token
from gen_msa.prompting import Piece
from gen_msa.types import Polarity
from tests.finetuning.lessons import LONG, Lesson
from tests.fixtures.tiny_models import FAMILIES

TEXTS = ("llama", "qwen2", "mistral")
PROMPTS = [p for p in map(prompting.load, prompting.names()) if p.task == "aspect"]


@pytest.fixture(scope="module")
def lesson():
    made = {}
    return lambda name: made.setdefault(name, Lesson(name))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_one_token_too_long_is_refused_by_name_and_never_cut(family, lesson):
    one = lesson(family)
    picture = 1 if one.layout.sees_pictures else None
    row = one.row(1, reason=LONG, picture=picture)
    whole = one.encoder.encode(row)
    n = len(whole.ids)
    short = Lesson(family, max_length=n - 1)
    with pytest.raises(UserError, match=f"{n} tokens do not fit into max_length={n - 1}"):
        short.encoder.encode(row)
    assert Lesson(family, max_length=n).encoder.encode(row).ids == whole.ids


@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_answer_and_its_end_are_there(family, lesson):
    one = lesson(family)
    encoded = one.encoder.encode(one.row(2, Polarity.NEGATIVE, LONG))
    *answer, end = encoded.ids[encoded.prompt_length :]
    assert one.layout.tokenizer.decode(answer) == f"Sentiment: negative\nWhy: {LONG}"
    assert end == closing_token(one.layout) in one.layout.ends()
    assert encoded.fields[-1] == "form"
    assert encoded.fields.count("label") >= 1


@pytest.mark.parametrize("family", TEXTS)
@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda p: p.name)
def test_the_prompt_is_token_for_token_what_a_reader_is_asked(family, prompt, lesson):
    one = lesson(family)
    row = one.row(0, prompt=prompt.name)
    encoded = one.encoder.encode(row)
    asked = one.layout.row(0, row.question.request.model_copy(update={"choice": None}))
    # The first token of the answer may melt into the prompt's last one in some tokenizers.
    assert common(encoded.ids, asked.ids) >= len(asked.ids) - 1
    assert encoded.prompt_length >= len(asked.ids) - 1


@pytest.mark.parametrize("family", TEXTS)
def test_an_answer_without_its_reason_does_not_teach_to_stop(family, lesson):
    one = lesson(family)
    encoded = one.encoder.encode(one.row(0, reason=None))
    answer = one.layout.tokenizer.decode(encoded.ids[encoded.prompt_length :])
    assert answer == "Sentiment: positive"
    assert encoded.ids[-1] not in one.layout.ends()
    assert encoded.fields[-1] == "label"


@pytest.mark.parametrize("family", FAMILIES)
def test_control_strings_of_a_teacher_are_words(family, lesson):
    one = lesson(family)
    control = sorted(one.layout.control)[:40]
    encoded = one.encoder.encode(one.row(0, reason=f"so {' '.join(control)} it is"))
    answer = encoded.ids[encoded.prompt_length :]
    assert not one.layout.control_ids.intersection(answer[:-1])


@settings(max_examples=30, deadline=None)
@given(
    reason=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    family=st.sampled_from(TEXTS),
)
def test_every_answer_token_has_a_field_and_fields_come_in_the_answers_order(reason, family):
    one = LESSONS.setdefault(family, Lesson(family))
    row = one.row(0, reason=reason)
    encoded = one.encoder.encode(row)
    runs = [f for f, g in zip(encoded.fields, (None, *encoded.fields), strict=False) if f != g]
    wanted = [p.field for p in row.target.pieces] + ["form"] * row.target.complete
    assert runs == [f for f, g in zip(wanted, (None, *wanted), strict=False) if f != g]
    answer = encoded.ids[encoded.prompt_length : len(encoded.ids) - row.target.complete]
    said = one.layout.tokenizer.decode(answer)
    if not one.layout.control & {said} and "\ufffd" not in reason:
        assert said.replace("\u200b", "") == row.target.text.replace("\u200b", "")


LESSONS = {}


def test_a_token_over_two_fields_belongs_to_that_of_its_last_character():
    pieces = [Piece("a:", "form"), Piece(" b", "label"), Piece("\nc", "form")]
    offsets = [(0, 4), (4, 6), (6, 9), (9, 10)]
    assert _fields(offsets, 4, pieces) == ["form", "form", "form"]
    assert _fields([(0, 4), (4, 7), (7, 8), (8, 10)], 4, pieces) == ["label", "label", "form"]
