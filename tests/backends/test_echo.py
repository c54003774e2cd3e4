"""The shipped fake: deterministic, quick, flat in memory, answering in the form it was asked."""

import json
import math
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.backends import BackendOptions
from gen_msa.backends._filling import Filling, names_in, quote_from
from gen_msa.backends.echo import Echo
from gen_msa.chat import Chat, Choice, Picture, Request, Text, Turn
from gen_msa.errors import UserError

CHOICE = Choice(
    lead="Sentiment:", options=(" negative", " neutral", " positive"), then="\nExplanation:"
)
JOINT = {
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


def ask(text, *, most=64, pictures=(), **more):
    words = Text(text=text, untrusted=True)
    turns = (
        Turn(role="system", parts=(Text(text="You read posts."),)),
        Turn(role="user", parts=(*pictures, Text(text="The post: "), words)),
    )
    return Request(chat=Chat(turns=turns), max_new_tokens=most, **more)


def picture(sha):
    return Picture(path="/p.png", sha256=sha * 64, max_pixels=100)


def echo(seed="", **options):
    return Echo(seed, BackendOptions(**options))


def one(request, seed="", **options):
    return echo(seed, **options).complete([request])[0]


def scripted(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return str(path)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_a_slot_is_filled_with_the_likeliest_option_and_quotes_are_verbatim(text):
    done = one(ask(text, most=1000, choice=CHOICE))
    best = max(done.option_logprobs, key=done.option_logprobs.get)
    assert sum(map(math.exp, done.option_logprobs.values())) == pytest.approx(1)
    assert done.text.startswith(f"Sentiment:{best}\nExplanation: The post says")
    if text.strip():
        assert done.text.partition(' says "')[2].removesuffix('".') in text
    assert (done.finish_reason, done.notes) == ("stop", {"form": "slot"})


def test_all_options_are_chosen_now_and_then():
    done = echo().complete([ask(f"post {i}", choice=CHOICE) for i in range(300)])
    counts = [sum(o in c.text for c in done) for o in CHOICE.options]
    assert min(counts) > 60


def test_a_label_alone_is_given_alone():
    label = CHOICE.model_copy(update={"then": ""})
    assert one(ask("fine", choice=label)).text.split() in (
        [["Sentiment:", w] for w in ("negative", "neutral", "positive")]
    )


def test_the_joint_form_lists_words_of_the_post_as_json():
    done = one(ask("The Screen of my Fairphone is #awful, the Screen!", json_schema=JOINT))
    said = json.loads(done.text)["aspects"]
    assert [a["aspect"] for a in said] == ["Screen", "Fairphone", "#awful"]
    assert {a["sentiment"] for a in said} <= {"negative", "neutral", "positive"}
    assert done.notes == {"form": "schema"}


def test_neither_slot_nor_schema_gives_a_free_sentence():
    done = one(ask("too loud"))
    assert done.notes == {"form": "free"}
    assert done.text.startswith('The post says "')


@given(st.text(max_size=200), st.binary(min_size=1, max_size=16))
def test_a_filled_schema_has_the_right_types(text, digest):
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
    value = Filling(schema, text, digest).value()
    assert [type(v) for v in value["few"]] == [str, str]
    assert 1 <= value["score"] <= 5
    assert isinstance(value["share"], float)
    assert value["sure"] is True
    assert len(value["maybe"]) <= 4
    assert (value["kind"], value["nothing"]) == ("x", None)


def test_a_schema_that_holds_itself_ends_and_one_that_lacks_a_part_is_an_error():
    tree = {
        "$defs": {"N": {"type": "array", "items": {"$ref": "#/$defs/N"}}},
        "$ref": "#/$defs/N",
    }
    assert json.loads(one(ask("One Two Three", most=9999, json_schema=tree)).text)
    done = one(ask("x", json_schema={"$ref": "#/$defs/Gone"}))
    assert (done.finish_reason, done.text) == ("error", "")
    assert "Gone" in done.error


def test_quotes_and_names_are_verbatim_in_any_script():
    for text in ("سيء جدا", "电池 很 差", "😀😀 ok", "  a\nb\tc  "):
        assert quote_from(text, 77) in text
        assert all(n in text for n in names_in(text))
    assert quote_from("  ", 3) == ""
    assert names_in("so bad the display is") == ["display"]


def test_another_picture_seed_or_text_gives_other_scores():
    def scores(seed="", sha="a", text="post"):
        return one(ask(text, choice=CHOICE, pictures=(picture(sha),)), seed).option_logprobs

    seen = [scores(), scores(sha="b"), scores("7"), scores(text="posts")]
    assert len({json.dumps(s) for s in seen}) == 4
    assert echo("7").revision != echo().revision


def test_an_answer_over_the_limit_is_cut_and_says_so():
    done = one(ask("a b c d e f", most=4, choice=CHOICE))
    assert (done.finish_reason, done.new_tokens) == ("length", 4)


def test_tokens_are_counted_as_they_are_charged():
    request = ask("one two", pictures=(picture("a"),))
    assert one(request).prompt_tokens == echo().count_tokens(request.chat).total
    assert echo().count_tokens(request.chat).picture == 1


def test_the_first_line_of_a_script_that_matches_answers(tmp_path):
    script = scripted(
        tmp_path,
        {"match": "battery", "text": "one", "finish_reason": "length"},
        {"regex": "(?i)SCREEN|batt", "text": "two", "option_logprobs": {"a": -1}, "form": "slot"},
        {"match": "[picture aaaaaaaaaaaa]", "error": "server on fire"},
    )
    requests = [ask("my battery"), ask("a screen"), ask("x", pictures=(picture("a"),)), ask("y")]
    one, two, three, four = echo(script=script).complete(requests)
    assert (one.text, one.finish_reason, one.notes) == ("one", "length", {"form": "free"})
    assert (two.text, two.option_logprobs, two.notes) == ("two", {"a": -1}, {"form": "slot"})
    assert (three.text, three.finish_reason, three.error) == ("", "error", "server on fire")
    assert four.notes == {"form": "free", "script": "no match"}


def test_a_script_is_part_of_the_revision(tmp_path):
    first = echo(script=scripted(tmp_path, {"text": "a"})).revision
    assert first != echo(script=scripted(tmp_path, {"text": "b"})).revision
    assert first != echo().revision


@pytest.mark.parametrize(
    "line", [{"regex": "("}, {"match": "a", "regex": "b"}, {"answer": "x"}, {"finish_reason": "x"}]
)
def test_a_script_that_cannot_be_read_names_the_line(tmp_path, line):
    with pytest.raises(UserError, match=r"script\.jsonl:2: "):
        echo(script=scripted(tmp_path, {"text": "fine"}, line))


def test_a_script_that_is_not_there_is_a_user_error():
    with pytest.raises(UserError, match="cannot be read"):
        echo(script="/no/such/script.jsonl")


def test_it_says_which_options_it_ignores(caplog):
    echo(dtype="float16", batch_size=4)
    assert "backend.dtype" in caplog.text
    assert "batch_size" not in caplog.text


def test_fifty_thousand_completions_are_quick_and_leave_nothing_behind():
    # The figure to beat is 20,000 a second on a quiet core; the bound leaves room for a busy one.
    backend = echo()
    requests = [ask(f"The Battery of post {i} is awful", choice=CHOICE) for i in range(1000)]
    backend.complete(requests)
    began = time.process_time()
    for _ in range(50):
        backend.complete(requests)
    assert 50_000 / (time.process_time() - began) > 8_000
    tracemalloc.start()
    backend.complete(requests)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3):
        backend.complete(requests)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000
