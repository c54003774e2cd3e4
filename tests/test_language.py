"""The language of a post is detected, or unknown; an English post is never taken for another."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.data import open_examples
from gen_msa.language import UNKNOWN, detect_language, may_be_english, resolve_language
from gen_msa.types import Example


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The food was great but the service was awful.", "en"),
        ("El servicio fue horrible pero la comida estaba muy buena", "es"),
        ("Der Bildschirm ist toll, aber der Akku ist schrecklich.", "de"),
        ("Le service \u00e9tait lent mais la cuisine excellente", "fr"),
        ("a comida estava \u00f3tima mas o servi\u00e7o foi p\u00e9ssimo", "pt"),
        ("La pizza era buonissima ma il servizio lento", "it"),
        ("het eten was lekker maar de bediening slecht", "nl"),
        ("这家餐厅的服务很差，但是菜很好吃", "zh"),
        ("この店はとても美味しい", "ja"),
        ("음식이 맛있어요", "ko"),
        (
            "RT @the_user: #bestfood der Film war super aber das Ende nicht http://t.co/a",
            "de",
        ),
        ("DER AKKU IST SCHLECHT UND DAS DISPLAY AUCH", "de"),
    ],
)
def test_language_of_a_sentence_is_detected(text: str, language: str) -> None:
    assert detect_language(text) == language
    assert not may_be_english(language, text) or language == "en"


@pytest.mark.parametrize(
    "text",
    ["", " ", "pizza", "omg", "no way", "Bad", "ok ok ok", "😀😀", "@maria #foodie", "1234", "a",
     "http://ejemplo.es/la-comida-estaba-muy-buena", "#elserviciofuehorrible @el_servicio",
     "crème brûlée to die for", "Los Angeles Lakers", "Casa Bonita", "Messi Ronaldo Neymar"],
)  # fmt: skip
def test_few_words_are_unknown_and_may_be_english(text: str) -> None:
    assert detect_language(text) == UNKNOWN
    assert may_be_english(UNKNOWN, text)


@pytest.mark.parametrize("text", ["отлично", "最高", "ดี"])
def test_unknown_text_in_another_script_is_not_english(text: str) -> None:
    assert not may_be_english(UNKNOWN, text)


def test_setting_fixes_the_language() -> None:
    assert resolve_language("es", "The food was great and the service was good") == "es"
    assert resolve_language("auto", "The food was great and the service was good") == "en"


@given(st.text(max_size=80))
def test_any_text_has_one_language_whatever_was_detected_before(text: str) -> None:
    first = detect_language(text)
    detect_language.cache_clear()
    assert detect_language(text) == first


@pytest.mark.skipif(not os.environ.get("GEN_MSA_DATA"), reason="GEN_MSA_DATA is not set")
def test_no_english_sentence_of_semeval_is_taken_for_another_language() -> None:
    rows = open_examples("semeval14_restaurants:train").rows()
    texts = [row.post.text for row in rows if isinstance(row, Example)]
    languages = [detect_language(text) for text in texts]
    assert set(languages) == {"en", UNKNOWN}
    assert languages.count("en") > 0.9 * len(texts)


@pytest.mark.parametrize("unit", ["@", "a@", "a.", "@a.", "www"])
def test_detection_time_of_hostile_posts_is_linear(unit):
    text = (unit * 2_000)[:2_000]
    detect_language("load the model first")
    start = time.process_time()
    for _ in range(2):
        detect_language(text)
    # 2,000 signs "@" took 2 s each where the time was cubic.
    assert time.process_time() - start < 1
