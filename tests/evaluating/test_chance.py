"""Explanations moved to other posts fall to chance; a figure that does not fall says nothing."""

from gen_msa.evaluating.chance import NAME, chance
from gen_msa.evaluating.measuring import Board
from gen_msa.metrics import Pair, metrics
from gen_msa.types import Aspect, Opinion, Post

THINGS = ["screen", "battery", "lens", "strap", "hinge", "speaker", "button", "cable"]


def pairs(explain):
    made = []
    for i, thing in enumerate(THINGS):
        post = Post(id=str(i), text=f"The {thing} broke", aspects=(Aspect(term=thing, start=4),))
        gold = Opinion(by="gold", aspect=post.aspects[0], polarity="negative")
        said = gold.model_copy(update={"by": "r", "explanation": explain(thing)})
        made.append(Pair(post, gold, said, str(i)))
    return made


def board(explain):
    return Board(pairs(explain), {"naming": metrics["naming"](), "labels": metrics["labels"]()})


def test_naming_falls_when_explanations_change_places():
    asked = board(lambda thing: f'The {thing} is said to be "broke".')
    assert asked.values("naming")["named"] == 1.0
    (found,) = chance(asked, seed=0).values()
    assert found["naming.named"].value == 0.0
    assert found["naming.named"].n == len(THINGS)
    assert set(found) == {"naming.named"}, "labels are not about explanations"


def test_words_that_fit_every_post_do_not_fall():
    every = " ".join(THINGS)
    found = chance(board(lambda _: every), seed=0)[NAME]
    assert found["naming.named"].value == 1.0


def test_a_reader_that_does_not_explain_has_no_chance():
    assert chance(board(lambda _: None), seed=0) == {}
