"""Explanations moved to other posts fall to chance; generic ones do not."""

from gen_msa.evaluation.evaluate import SHUFFLED_BASELINE, shuffled_baseline
from gen_msa.evaluation.scores import SystemScores
from gen_msa.metrics import Pair, metrics
from gen_msa.types import Aspect, Opinion, Post

TERMS = ["screen", "battery", "lens", "strap", "hinge", "speaker", "button", "cable"]


def make_pairs(explain):
    pair_list = []
    for i, term in enumerate(TERMS):
        post = Post(id=str(i), text=f"The {term} broke", aspects=(Aspect(term=term, start=4),))
        gold = Opinion(annotator="gold", aspect=post.aspects[0], polarity="negative")
        prediction = gold.model_copy(update={"annotator": "r", "explanation": explain(term)})
        pair_list.append(Pair(post, gold, prediction, str(i)))
    return pair_list


def make_scores(explain):
    return SystemScores(
        make_pairs(explain),
        {"aspect_mention": metrics["aspect_mention"](), "labels": metrics["labels"]()},
    )


def test_shuffled_baseline_lowers_aspect_mention():
    scores = make_scores(lambda term: f'The {term} is said to be "broke".')
    assert scores.compute("aspect_mention")["named"] == 1.0
    (baseline,) = shuffled_baseline(scores, seed=0).values()
    assert baseline["aspect_mention.named"].value == 0.0
    assert baseline["aspect_mention.named"].n == len(TERMS)
    assert set(baseline) == {"aspect_mention.named"}, "labels are not about explanations"


def test_shuffled_baseline_keeps_generic_explanations():
    all_terms = " ".join(TERMS)
    baseline = shuffled_baseline(make_scores(lambda _: all_terms), seed=0)[SHUFFLED_BASELINE]
    assert baseline["aspect_mention.named"].value == 1.0


def test_shuffled_baseline_is_empty_without_explanations():
    assert shuffled_baseline(make_scores(lambda _: None), seed=0) == {}
