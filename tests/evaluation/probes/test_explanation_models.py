"""Simulatability and consistency: shuffled explanations fall to chance, honest ones do not."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.evaluation.probes._explanation_models import (
    N_FOLDS,
    NaiveBayes,
    assign_folds,
    drop_unused_features,
    hashed_ngrams,
    shuffled_accuracy,
)
from gen_msa.evaluation.probes._harness import ProbeHarness
from gen_msa.metrics import UndefinedMetric
from gen_msa.metrics.explanation_text import mask_labels
from gen_msa.predictors import PredictorSettings
from gen_msa.types import Polarity, Post
from tests.evaluation.probes.fake_predictors import (
    NEG,
    NEU,
    POS,
    FakePredictor,
    kettle_post,
    run_probe,
    with_gold,
)

EXPLANATION_OF = {
    POS: "it lasts and shines",
    NEG: "it leaks and rattles",
    NEU: "it stands in a room",
}
EXAMPLES = [
    with_gold(kettle_post(i, "odd"), random.Random(i).choice(list(Polarity))) for i in range(150)
]
GOLD_LABELS = {e.post.id: e.opinions[0].polarity for e in EXAMPLES}


def hidden_label(post, aspect):
    """Return a label that nothing in the post reveals."""
    return GOLD_LABELS[post.id]


def honest_explanation(post, aspect, label):
    return f"The kettle: {EXPLANATION_OF[label]}, says number {post.id}."


def shuffled_explanation(post, aspect, label):
    return honest_explanation(post, aspect, random.Random(post.id + "x").choice(list(Polarity)))


def label_only_explanation(post, aspect, label):
    return f"The sentiment is clearly {label}, {label}ly so."


@pytest.mark.parametrize(
    ("name", "metric"), [("simulatability", "from_explanation"), ("consistency", "consistency")]
)
def test_probe_rewards_honest_over_shuffled_explanations(name, metric):
    metrics = run_probe(name, FakePredictor(hidden_label, honest_explanation), EXAMPLES).metrics
    assert metrics[metric].value == 1
    assert metrics["gain"].low > 0.5
    assert metrics["explained"].value == 1
    metrics = run_probe(name, FakePredictor(hidden_label, shuffled_explanation), EXAMPLES).metrics
    assert metrics["chance"].low <= metrics[metric].value <= metrics["chance"].high
    assert metrics["gain"].value < 0.1


@pytest.mark.parametrize("name", ["simulatability", "consistency"])
def test_probe_gives_no_credit_for_restating_the_label(name):
    result = run_probe(name, FakePredictor(hidden_label, label_only_explanation), EXAMPLES)
    metric = "from_explanation" if name == "simulatability" else "consistency"
    assert result.metrics[metric].value == result.metrics["chance"].value < 0.45
    assert {t.description for t in result.trials if t.variant != "input"} == {
        "The sentiment is clearly , so."
    }


def test_simulatability_has_no_gain_over_informative_input():
    def last_word(post, aspect):
        return list(Polarity)[int(post.id[1:]) % 3]

    posts = [kettle_post(i, ("dreadful", "plain", "splendid")[i % 3]) for i in range(60)]
    metrics = run_probe(
        "simulatability",
        FakePredictor(last_word, honest_explanation),
        [with_gold(p, NEU) for p in posts],
    ).metrics
    assert metrics["from_input"].value > 0.9
    assert abs(metrics["gain"].value) < 0.1


def test_simulatability_predicts_from_quotes_alone():
    def quote(post, aspect):
        return {POS: "tram", NEG: "harbour"}.get(GOLD_LABELS[post.id], "")

    def verdict(post, aspect, label):
        return {POS: "Well, well.", NEG: "Dear me.", NEU: "So it is."}[label]

    uninformative_examples = [
        with_gold(e.post.model_copy(update={"text": "kettle by the tram or the harbour"}), NEU)
        for e in EXAMPLES
    ]
    metrics = run_probe(
        "simulatability", FakePredictor(hidden_label, verdict, quote), uninformative_examples
    ).metrics
    assert metrics["from_quotes"].value == 1
    assert metrics["quotes_gain"].n == sum(y is not NEU for y in GOLD_LABELS.values())
    constant_quote = run_probe(
        "simulatability",
        FakePredictor(hidden_label, verdict, lambda p, a: "tram"),
        uninformative_examples,
    ).metrics
    assert constant_quote["from_explanation"].value == 1
    assert constant_quote["from_quotes"].value < 0.45


def test_consistency_learns_from_enough_gold_explanations():
    explanation_of = {POS: "sturdy and quick", NEG: "brittle and slow", NEU: "made of steel"}
    explained_examples = [
        with_gold(e.post, label, explanation=explanation_of[label])
        for e in EXAMPLES
        for label in [e.opinions[0].polarity]
    ]
    metrics = run_probe(
        "consistency",
        FakePredictor(hidden_label, lambda p, a, y: explanation_of[y]),
        explained_examples,
    ).metrics
    assert metrics["consistency"].value == 1
    assert "gold explanations of other posts" in metrics["consistency"].note
    # Words that gold never uses carry no information for a model trained on gold.
    assert (
        run_probe(
            "consistency", FakePredictor(hidden_label, honest_explanation), explained_examples
        )
        .metrics["gain"]
        .high
        < 0.1
    )
    few_metrics = run_probe(
        "consistency",
        FakePredictor(hidden_label, honest_explanation),
        explained_examples[:20] + EXAMPLES[20:],
    ).metrics
    assert "the model's own explanations" in few_metrics["consistency"].note


def test_explanation_model_sees_neither_post_nor_label(tmp_path):
    lines = [
        {"match": "SHOULD-NOT-BE-SEEN", "text": "Sentiment: neutral"},
        *(
            {"match": s, "text": f"Sentiment: {p}\nExplanation: so"}
            for p, s in EXPLANATION_OF.items()
        ),
    ]
    script = tmp_path / "script.jsonl"
    script.write_text("\n".join(map(json.dumps, lines)) + "\n")
    model_settings = {"model": "echo", "cues": {}, "backend": {"script": str(script)}}
    marked_examples = [
        e.model_copy(
            update={"post": e.post.model_copy(update={"text": e.post.text + " SHOULD-NOT-BE-SEEN"})}
        )
        for e in EXAMPLES[:30]
    ]
    predictor = FakePredictor(hidden_label, honest_explanation)
    metrics = run_probe(
        "consistency", predictor, marked_examples, options={"explanation_model": model_settings}
    ).metrics
    assert metrics["consistency"].value == 1
    assert metrics["consistency"].note == "explanation model: echo"
    metrics = run_probe(
        "simulatability", predictor, marked_examples, options={"simulator": model_settings}
    ).metrics
    assert metrics["from_explanation"].value == 1
    assert (
        metrics["from_input"].value
        == sum(GOLD_LABELS[e.post.id] is NEU for e in marked_examples) / 30
    )


@pytest.mark.parametrize("name", ["simulatability", "consistency"])
def test_probe_is_not_applicable_without_explanations_or_labels(name):
    assert (
        "gives no explanations"
        in run_probe(name, FakePredictor(hidden_label), EXAMPLES).metrics["gain"].note
    )
    single_label = run_probe(
        name, FakePredictor(lambda p, a: POS, honest_explanation), EXAMPLES
    ).metrics
    assert "predicts only positive" in single_label["gain"].note
    single_row = run_probe(
        name, FakePredictor(hidden_label, honest_explanation), EXAMPLES[:1]
    ).metrics
    assert single_row["gain"].value is None


@pytest.mark.parametrize("name", ["simulatability", "consistency"])
def test_probe_ignores_row_order_and_limits_only_predictions(name):
    predictor = FakePredictor(hidden_label, shuffled_explanation)
    metrics = run_probe(name, predictor, EXAMPLES, limit=9).metrics
    assert metrics == run_probe(name, predictor, EXAMPLES[::-1], limit=30).metrics
    assert metrics["gain"].n == 150
    option = "simulator" if name == "simulatability" else "explanation_model"
    options = {option: {"model": "echo", "cues": {}}}
    assert run_probe(name, predictor, EXAMPLES, limit=9, options=options).metrics["gain"].n == 9


def test_simulatability_counts_rows_without_explanation():
    def explain_odd_posts(post, aspect, label):
        return honest_explanation(post, aspect, label) if int(post.id[1:]) % 2 else " "

    metrics = run_probe(
        "simulatability", FakePredictor(hidden_label, explain_odd_posts), EXAMPLES
    ).metrics
    assert (metrics["explained"].n, metrics["explained"].value) == (150, 0.5)
    assert metrics["gain"].n == 75


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
def test_mask_labels_removes_label_names_only(before, after):
    assert mask_labels(before) == after


def test_mask_labels_removes_custom_label_names():
    assert mask_labels("The label is thumbs-up here", ("thumbs-up", "")) == "The label is here"


@given(st.sets(st.text(max_size=3), min_size=2), st.integers(0, 5))
def test_assign_folds_is_even_and_order_independent(clusters, seed):
    fold = assign_folds(sorted(clusters), seed)
    assert fold == assign_folds(sorted(clusters, reverse=True) * 2, seed)
    sizes = [list(fold.values()).count(f) for f in range(N_FOLDS)]
    assert max(sizes) - min(sizes) <= 1


def test_naive_bayes_needs_two_clusters():
    with pytest.raises(UndefinedMetric, match="one post or image"):
        assign_folds(["a", "a"], 0)
    features = hashed_ngrams(["so", "so"], ["", ""])
    with pytest.raises(UndefinedMetric, match="nothing to learn from"):
        NaiveBayes(features[:1], [POS], ["a"]).predict(features, ["a", "b"], 0)


def test_naive_bayes_predicts_out_of_fold():
    # Each cluster has a word and label of its own: only a model that saw it could know.
    features = hashed_ngrams([f"word{i}" for i in range(40)], [""] * 40)
    labels, clusters = [(POS, NEG)[i % 2] for i in range(40)], [f"c{i}" for i in range(40)]
    predicted = NaiveBayes(features, labels, clusters).predict(features, clusters, 0)
    assert sum(g is y for g, y in zip(predicted, labels, strict=True)) <= 25
    in_sample = NaiveBayes(features, labels, [f"d{i}" for i in range(40)]).predict(
        features, clusters, 0
    )
    assert in_sample == labels


def test_naive_bayes_predicts_prior_for_empty_texts():
    features = hashed_ngrams(["", " ", "", "new"], [""] * 4)
    predicted = NaiveBayes(features[:3], [NEG, NEG, POS], ["a", "b", "c"]).predict(
        features, list("defg"), 0
    )
    assert predicted == [NEG] * 4


def test_hashed_ngrams_accept_lone_surrogates():
    assert (hashed_ngrams(["so \ud83d"], [""]) != hashed_ngrams(["so ?"], [""])).nnz == 0


@given(st.integers(0, 1000))
def test_naive_bayes_matches_hand_computation(seed):
    rng = random.Random(seed)
    texts = [" ".join(rng.choices("abcde", k=3)) for _ in range(12)]
    labels = [rng.choice(list(Polarity)) for _ in texts]
    features = drop_unused_features(hashed_ngrams(texts, [""] * 12))
    predicted = NaiveBayes(features[1:], labels[1:], ["other"] * 11).predict(
        features[:2], ["a", "b"], 0
    )[0]
    ngram_ids = [set(m.indices.tolist()) for m in features]
    vocabulary = set().union(*ngram_ids[1:])
    scores = {}
    for label in Polarity:
        class_documents = [h for h, y in zip(ngram_ids[1:], labels[1:], strict=True) if y is label]
        total = sum(map(len, class_documents)) + len(vocabulary)
        if class_documents:
            scores[label] = math.log(len(class_documents) / 11) + sum(
                math.log((sum(f in h for h in class_documents) + 1) / total)
                for f in ngram_ids[0] & vocabulary
            )
    assert scores[predicted] == pytest.approx(max(scores.values()), abs=1e-4)


def test_shuffled_accuracy_matches_chance_agreement():
    labels, predictions = [POS, POS, NEG, NEU] * 10, [POS, NEG, None, POS] * 10
    harness = ProbeHarness(FakePredictor(hidden_label), PredictorSettings(), Path(), ())
    chance_by_row, chance = shuffled_accuracy(
        labels, lambda order: [predictions[i] for i in order], harness
    )
    expected = 0.5 * 0.5 + 0.25 * 0.25
    assert chance.value == pytest.approx(expected, abs=0.02)
    assert chance.low < expected < chance.high
    assert sum(chance_by_row) / 40 == pytest.approx(chance.value)


def test_consistency_gain_of_random_explanations_is_zero():
    gains = []
    for draw in range(4):
        predictor = FakePredictor(
            hidden_label,
            lambda p, a, y, d=draw: shuffled_explanation(Post(id=f"{p.id}-{d}", text=""), a, y),
        )
        gains.append(
            run_probe("consistency", predictor, EXAMPLES, replicates=50).metrics["gain"].value
        )
    assert abs(sum(gains) / len(gains)) < 0.05
