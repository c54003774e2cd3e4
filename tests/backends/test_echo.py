"""The shipped fake: deterministic, quick, flat in memory, answering in the form it was asked."""

import json
import math
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.backends import BackendOptions
from gen_msa.backends.echo import EchoBackend, SchemaFiller, extract_names, pick_quote
from gen_msa.chat import Chat, ChoiceSlot, ImageInput, Request, TextInput, Turn
from gen_msa.errors import UserError

CHOICE = ChoiceSlot(
    prefix="Sentiment:", options=(" negative", " neutral", " positive"), suffix="\nExplanation:"
)
ASPECTS_SCHEMA = {
    "$defs": {
        "Answer": {
            "type": "object",
            "properties": {
                "aspect": {"type": "string", "minLength": 1, "maxLength": 80},
                "sentiment": {"enum": ["negative", "neutral", "positive"], "type": "string"},
                "explanation": {"type": "string", "maxLength": 300},
            },
            "required": ["aspect", "sentiment", "explanation"],
        }
    },
    "type": "object",
    "properties": {
        "aspects": {"type": "array", "items": {"$ref": "#/$defs/Answer"}, "maxItems": 32}
    },
    "required": ["aspects"],
}


def build_request(text, *, max_new_tokens=64, images=(), **options):
    post_text = TextInput(text=text, untrusted=True)
    turns = (
        Turn(role="system", parts=(TextInput(text="You read posts."),)),
        Turn(role="user", parts=(*images, TextInput(text="The post: "), post_text)),
    )
    return Request(chat=Chat(turns=turns), max_new_tokens=max_new_tokens, **options)


def image_input(sha):
    return ImageInput(path="/p.png", sha256=sha * 64, max_pixels=100)


def echo_backend(seed="", **options):
    return EchoBackend(seed, BackendOptions(**options))


def complete_one(request, seed="", **options):
    return echo_backend(seed, **options).complete([request])[0]


def write_script(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return str(path)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_slot_holds_likeliest_option_and_quotes_are_verbatim(text):
    completion = complete_one(build_request(text, max_new_tokens=1000, choice=CHOICE))
    best = max(completion.option_logprobs, key=completion.option_logprobs.get)
    assert sum(map(math.exp, completion.option_logprobs.values())) == pytest.approx(1)
    assert completion.text.startswith(f"Sentiment:{best}\nExplanation: The post says")
    if text.strip():
        assert completion.text.partition(' says "')[2].removesuffix('".') in text
    assert (completion.finish_reason, completion.notes) == ("stop", {"form": "slot"})


def test_every_option_is_chosen_sometimes():
    completions = echo_backend().complete(
        [build_request(f"post {i}", choice=CHOICE) for i in range(300)]
    )
    counts = [sum(o in c.text for c in completions) for o in CHOICE.options]
    assert min(counts) > 60


def test_label_only_slot_gives_label_only():
    label = CHOICE.model_copy(update={"suffix": ""})
    assert complete_one(build_request("fine", choice=label)).text.split() in (
        [["Sentiment:", w] for w in ("negative", "neutral", "positive")]
    )


def test_aspects_schema_lists_words_of_the_post():
    completion = complete_one(
        build_request(
            "The Screen of my Fairphone is #awful, the Screen!", json_schema=ASPECTS_SCHEMA
        )
    )
    aspects = json.loads(completion.text)["aspects"]
    assert [a["aspect"] for a in aspects] == ["Screen", "Fairphone", "#awful"]
    assert {a["sentiment"] for a in aspects} <= {"negative", "neutral", "positive"}
    assert completion.notes == {"form": "schema"}


def test_request_without_slot_or_schema_gives_free_sentence():
    completion = complete_one(build_request("too loud"))
    assert completion.notes == {"form": "free"}
    assert completion.text.startswith('The post says "')


@given(st.text(max_size=200), st.binary(min_size=1, max_size=16))
def test_schema_filler_respects_types(text, digest):
    schema = {
        "type": "object",
        "properties": {
            "few": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "share": {"type": "number"},
            "sure": {"type": "boolean"},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 4}]},
            "kind": {"const": "x"},
            "nothing": {"type": "null"},
        },
    }
    value = SchemaFiller(schema, text, digest).build()
    assert [type(v) for v in value["few"]] == [str, str]
    assert 1 <= value["score"] <= 5
    assert isinstance(value["share"], float)
    assert value["sure"] is True
    assert len(value["maybe"]) <= 4
    assert (value["kind"], value["nothing"]) == ("x", None)


def test_recursive_schema_ends_and_missing_ref_is_an_error():
    tree = {
        "$defs": {"N": {"type": "array", "items": {"$ref": "#/$defs/N"}}},
        "$ref": "#/$defs/N",
    }
    assert json.loads(
        complete_one(build_request("One Two Three", max_new_tokens=9999, json_schema=tree)).text
    )
    completion = complete_one(build_request("x", json_schema={"$ref": "#/$defs/Gone"}))
    assert (completion.finish_reason, completion.text) == ("error", "")
    assert "Gone" in completion.error


def test_quotes_and_names_are_verbatim_in_any_script():
    for text in ("سيء جدا", "电池 很 差", "😀😀 ok", "  a\nb\tc  "):
        assert pick_quote(text, 77) in text
        assert all(n in text for n in extract_names(text))
    assert pick_quote("  ", 3) == ""
    assert extract_names("so bad the display is") == ["display"]


def test_image_seed_and_text_change_scores():
    def scores(seed="", sha="a", text="post"):
        return complete_one(
            build_request(text, choice=CHOICE, images=(image_input(sha),)), seed
        ).option_logprobs

    all_scores = [scores(), scores(sha="b"), scores("7"), scores(text="posts")]
    assert len({json.dumps(s) for s in all_scores}) == 4
    assert echo_backend("7").revision != echo_backend().revision


def test_answer_over_token_limit_is_truncated():
    completion = complete_one(build_request("a b c d e f", max_new_tokens=4, choice=CHOICE))
    assert (completion.finish_reason, completion.new_tokens) == ("length", 4)


def test_token_counts_match_usage():
    request = build_request("one two", images=(image_input("a"),))
    assert complete_one(request).prompt_tokens == echo_backend().count_tokens(request.chat).total
    assert echo_backend().count_tokens(request.chat).image == 1


def test_first_matching_script_line_answers(tmp_path):
    script = write_script(
        tmp_path,
        {"match": "battery", "text": "one", "finish_reason": "length"},
        {"regex": "(?i)SCREEN|batt", "text": "two", "option_logprobs": {"a": -1}, "form": "slot"},
        {"match": "[image aaaaaaaaaaaa]", "error": "server on fire"},
    )
    requests = [
        build_request("my battery"),
        build_request("a screen"),
        build_request("x", images=(image_input("a"),)),
        build_request("y"),
    ]
    by_match, by_regex, by_image, unmatched = echo_backend(script=script).complete(requests)
    assert (by_match.text, by_match.finish_reason, by_match.notes) == (
        "one",
        "length",
        {"form": "free"},
    )
    assert (by_regex.text, by_regex.option_logprobs, by_regex.notes) == (
        "two",
        {"a": -1},
        {"form": "slot"},
    )
    assert (by_image.text, by_image.finish_reason, by_image.error) == (
        "",
        "error",
        "server on fire",
    )
    assert unmatched.notes == {"form": "free", "script": "no match"}


def test_script_is_part_of_revision(tmp_path):
    first = echo_backend(script=write_script(tmp_path, {"text": "a"})).revision
    assert first != echo_backend(script=write_script(tmp_path, {"text": "b"})).revision
    assert first != echo_backend().revision


@pytest.mark.parametrize(
    "line", [{"regex": "("}, {"match": "a", "regex": "b"}, {"answer": "x"}, {"finish_reason": "x"}]
)
def test_invalid_script_line_raises_with_its_number(tmp_path, line):
    with pytest.raises(UserError, match=r"script\.jsonl:2: "):
        echo_backend(script=write_script(tmp_path, {"text": "fine"}, line))


def test_missing_script_raises_user_error():
    with pytest.raises(UserError, match="cannot be read"):
        echo_backend(script="/no/such/script.jsonl")


def test_ignored_options_are_logged(caplog):
    echo_backend(dtype="float16", batch_size=4)
    assert "backend.dtype" in caplog.text
    assert "batch_size" not in caplog.text


def test_50_000_completions_are_fast_and_leak_nothing():
    # The figure to beat is 20,000 a second on a quiet core; the bound leaves room for a busy one.
    backend = echo_backend()
    requests = [
        build_request(f"The Battery of post {i} is awful", choice=CHOICE) for i in range(1000)
    ]
    backend.complete(requests)
    started = time.process_time()
    for _ in range(50):
        backend.complete(requests)
    assert 50_000 / (time.process_time() - started) > 8_000
    tracemalloc.start()
    backend.complete(requests)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3):
        backend.complete(requests)
    growth = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert growth < 100_000
