"""Simulatability and consistency: shuffled reasons fall to chance, honest ones do not."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.evaluating.probing._bench import Bench
from gen_msa.evaluating.probing._guessing import FOLDS, Taught, bags, folds, packed
from gen_msa.evaluating.probing._reasons import dealt
from gen_msa.metrics import Undefined
from gen_msa.metrics.masking import masked
from gen_msa.readers import ReaderSettings
from gen_msa.types import Polarity, Post
from tests.evaluating.probing.doubles import NEG, NEU, POS, Double, gold, run, sentence

SAYS = {POS: "it lasts and shines", NEG: "it leaks and rattles", NEU: "it stands in a room"}
EXAMPLES = [gold(sentence(i, "odd"), random.Random(i).choice(list(Polarity))) for i in range(150)]
GOLD = {e.post.id: e.opinions[0].polarity for e in EXAMPLES}


def hidden(post, aspect):
    """A label that nothing in the post tells."""
    return GOLD[post.id]


def honest(post, aspect, label):
    return f"The kettle: {SAYS[label]}, says number {post.id}."


def shuffled(post, aspect, label):
    return honest(post, aspect, random.Random(post.id + "x").choice(list(Polarity)))


def the_label_itself(post, aspect, label):
    return f"The sentiment is clearly {label}, {label}ly so."


@pytest.mark.parametrize(
    ("name", "figure"), [("simulatability", "from_explanation"), ("consistency", "consistency")]
)
def test_honest_reasons_tell_the_label_and_shuffled_ones_fall_to_chance(name, figure):
    found = run(name, Double(hidden, honest), EXAMPLES).figures
    assert found[figure].value == 1
    assert found["gain"].low > 0.5
    assert found["explained"].value == 1
    found = run(name, Double(hidden, shuffled), EXAMPLES).figures
    assert found["chance"].low <= found[figure].value <= found["chance"].high
    assert found["gain"].value < 0.1


@pytest.mark.parametrize("name", ["simulatability", "consistency"])
def test_a_reason_that_only_repeats_the_label_is_worth_nothing(name):
    probed = run(name, Double(hidden, the_label_itself), EXAMPLES)
    said = "from_explanation" if name == "simulatability" else "consistency"
    assert probed.figures[said].value == probed.figures["chance"].value < 0.45
    assert {t.told for t in probed.trials if t.variant != "input"} == {
        "The sentiment is clearly , so."
    }


def test_an_input_that_tells_as_much_leaves_no_gain():
    def last_word(post, aspect):
        return list(Polarity)[int(post.id[1:]) % 3]

    told = [sentence(i, ("dreadful", "plain", "splendid")[i % 3]) for i in range(60)]
    found = run("simulatability", Double(last_word, honest), [gold(p, NEU) for p in told]).figures
    assert found["from_input"].value > 0.9
    assert abs(found["gain"].value) < 0.1


def test_quoted_words_are_read_alone_where_there_are_any():
    def quote(post, aspect):
        return {POS: "tram", NEG: "harbour"}.get(GOLD[post.id], "")

    def verdict(post, aspect, label):
        return {POS: "Well, well.", NEG: "Dear me.", NEU: "So it is."}[label]

    texts = [
        gold(e.post.model_copy(update={"text": "kettle by the tram or the harbour"}), NEU)
        for e in EXAMPLES
    ]
    found = run("simulatability", Double(hidden, verdict, quote), texts).figures
    assert found["from_quotes"].value == 1
    assert found["quotes_gain"].n == sum(y is not NEU for y in GOLD.values())
    same = run("simulatability", Double(hidden, verdict, lambda p, a: "tram"), texts).figures
    assert same["from_explanation"].value == 1
    assert same["from_quotes"].value < 0.45


def test_gold_reasons_teach_where_there_are_enough_of_them():
    other = {POS: "sturdy and quick", NEG: "brittle and slow", NEU: "made of steel"}
    by_gold = [
        gold(e.post, label, reason=other[label])
        for e in EXAMPLES
        for label in [e.opinions[0].polarity]
    ]
    found = run("consistency", Double(hidden, lambda p, a, y: other[y]), by_gold).figures
    assert found["consistency"].value == 1
    assert "gold's reasons about other posts" in found["consistency"].note
    # Words that gold never used tell a reader of gold's reasons nothing.
    assert run("consistency", Double(hidden, honest), by_gold).figures["gain"].high < 0.1
    few = run("consistency", Double(hidden, honest), by_gold[:20] + EXAMPLES[20:]).figures
    assert "the reader's own reasons" in few["consistency"].note


def test_a_named_reader_reads_reasons_without_post_or_label(tmp_path):
    lines = [
        {"match": "SHOULD-NOT-BE-SEEN", "text": "Sentiment: neutral"},
        *({"match": s, "text": f"Sentiment: {p}\nExplanation: so"} for p, s in SAYS.items()),
    ]
    script = tmp_path / "script.jsonl"
    script.write_text("\n".join(map(json.dumps, lines)) + "\n")
    named = {"reader": "echo", "cues": {}, "backend": {"script": str(script)}}
    shown = [
        e.model_copy(
            update={"post": e.post.model_copy(update={"text": e.post.text + " SHOULD-NOT-BE-SEEN"})}
        )
        for e in EXAMPLES[:30]
    ]
    reader = Double(hidden, honest)
    found = run("consistency", reader, shown, options={"reasoner": named}).figures
    assert found["consistency"].value == 1
    assert found["consistency"].note == "reason reader: echo"
    found = run("simulatability", reader, shown, options={"simulator": named}).figures
    assert found["from_explanation"].value == 1
    assert found["from_input"].value == sum(GOLD[e.post.id] is NEU for e in shown) / 30


@pytest.mark.parametrize("name", ["simulatability", "consistency"])
def test_without_reasons_or_with_one_label_it_is_not_applicable(name):
    assert "explains nothing" in run(name, Double(hidden), EXAMPLES).figures["gain"].note
    one = run(name, Double(lambda p, a: POS, honest), EXAMPLES).figures
    assert "says nothing but positive" in one["gain"].note
    alone = run(name, Double(hidden, honest), EXAMPLES[:1]).figures
    assert alone["gain"].value is None


@pytest.mark.parametrize("name", ["simulatability", "consistency"])
def test_the_order_of_rows_is_nothing_and_what_is_not_read_again_is_not_limited(name):
    reader = Double(hidden, shuffled)
    found = run(name, reader, EXAMPLES, limit=9).figures
    assert found == run(name, reader, EXAMPLES[::-1], limit=30).figures
    assert found["gain"].n == 150
    who = "simulator" if name == "simulatability" else "reasoner"
    named = {who: {"reader": "echo", "cues": {}}}
    assert run(name, reader, EXAMPLES, limit=9, options=named).figures["gain"].n == 9


def test_rows_without_a_reason_are_counted():
    def half(post, aspect, label):
        return honest(post, aspect, label) if int(post.id[1:]) % 2 else " "

    found = run("simulatability", Double(hidden, half), EXAMPLES).figures
    assert (found["explained"].n, found["explained"].value) == (150, 0.5)
    assert found["gain"].n == 75


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A positive tone, Positively so; positivity!", "A tone, so; !"),
        ('The word "awful" is negative-sounding', 'The word "awful" is -sounding'),
        ("It is non-negative or unfavourable", "It is or"),
        ("neutrally neutral neutrality", ""),
        ("It speaks against the tea, no praise", "It the tea, no"),
        ("It tells of tea without an opinion", "It tells of tea"),
        ("这条评论是积极的", "这条评论是 的"),
        ("The composition of the position", "The composition of the position"),
        ("a newer pose, a negligee", "a newer pose, a negligee"),
    ],
)
def test_names_of_labels_are_masked_and_words_of_feeling_stay(before, after):
    assert masked(before) == after


def test_label_names_of_a_prompt_are_masked_too():
    assert masked("The label is thumbs-up here", ("thumbs-up", "")) == "The label is here"


@given(st.sets(st.text(max_size=3), min_size=2), st.integers(0, 5))
def test_folds_are_even_and_do_not_hang_on_the_order(clusters, seed):
    fold = folds(sorted(clusters), seed)
    assert fold == folds(sorted(clusters, reverse=True) * 2, seed)
    sizes = [list(fold.values()).count(f) for f in range(FOLDS)]
    assert max(sizes) - min(sizes) <= 1


def test_one_cluster_leaves_nothing_to_learn_from():
    with pytest.raises(Undefined, match="one post or picture"):
        folds(["a", "a"], 0)
    found = bags(["so", "so"], ["", ""])
    with pytest.raises(Undefined, match="nothing to learn from"):
        Taught(found[:1], [POS], ["a"]).guess(found, ["a", "b"], 0)


def test_nothing_is_guessed_by_what_has_seen_it():
    # Each cluster has a word and label of its own: only a model that saw it could know.
    found = bags([f"word{i}" for i in range(40)], [""] * 40)
    labels, clusters = [(POS, NEG)[i % 2] for i in range(40)], [f"c{i}" for i in range(40)]
    guessed = Taught(found, labels, clusters).guess(found, clusters, 0)
    assert sum(g is y for g, y in zip(guessed, labels, strict=True)) <= 25
    seen = Taught(found, labels, [f"d{i}" for i in range(40)]).guess(found, clusters, 0)
    assert seen == labels


def test_texts_without_a_word_are_guessed_by_the_labels_alone():
    found = bags(["", " ", "", "new"], [""] * 4)
    guessed = Taught(found[:3], [NEG, NEG, POS], ["a", "b", "c"]).guess(found, list("defg"), 0)
    assert guessed == [NEG] * 4


def test_half_a_character_is_a_sign_like_another():
    assert (bags(["so \ud83d"], [""]) != bags(["so ?"], [""])).nnz == 0


@given(st.integers(0, 1000))
def test_the_guess_is_naive_bayes_by_hand(seed):
    dice = random.Random(seed)
    texts = [" ".join(dice.choices("abcde", k=3)) for _ in range(12)]
    labels = [dice.choice(list(Polarity)) for _ in texts]
    made = packed(bags(texts, [""] * 12))
    got = Taught(made[1:], labels[1:], ["other"] * 11).guess(made[:2], ["a", "b"], 0)[0]
    has = [set(m.indices.tolist()) for m in made]
    known = set().union(*has[1:])
    scores = {}
    for label in Polarity:
        mine = [h for h, y in zip(has[1:], labels[1:], strict=True) if y is label]
        total = sum(map(len, mine)) + len(known)
        if mine:
            scores[label] = math.log(len(mine) / 11) + sum(
                math.log((sum(f in h for h in mine) + 1) / total) for f in has[0] & known
            )
    assert scores[got] == pytest.approx(max(scores.values()), abs=1e-4)


def test_reasons_dealt_out_hit_as_often_as_labels_and_guesses_agree_by_lot():
    labels, fixed = [POS, POS, NEG, NEU] * 10, [POS, NEG, None, POS] * 10
    bench = Bench(Double(hidden), ReaderSettings(), Path(), ())
    each, chance = dealt(labels, lambda order: [fixed[i] for i in order], bench)
    by_lot = 0.5 * 0.5 + 0.25 * 0.25
    assert chance.value == pytest.approx(by_lot, abs=0.02)
    assert chance.low < by_lot < chance.high
    assert sum(each) / 40 == pytest.approx(chance.value)


def test_learning_anew_from_dealt_reasons_takes_the_fall_below_chance_along():
    gains = []
    for deal in range(4):
        reader = Double(
            hidden, lambda p, a, y, d=deal: shuffled(Post(id=f"{p.id}-{d}", text=""), a, y)
        )
        gains.append(run("consistency", reader, EXAMPLES, replicates=50).figures["gain"].value)
    assert abs(sum(gains) / len(gains)) < 0.05
