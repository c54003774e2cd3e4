import pytest
from pydantic import ValidationError

from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post

POST = Post(id="1", text="Screen great", aspects=(Aspect(term="Screen", start=0),))


def test_a_post_has_no_room_for_a_label():
    with pytest.raises(ValidationError):
        Post(id="1", text="x", polarity="positive")


def test_an_aspect_must_stand_where_it_says():
    with pytest.raises(ValidationError, match="is not at 3"):
        Post(id="1", text="Screen great", aspects=(Aspect(term="great", start=3),))


def test_one_aspect_cannot_be_listed_twice_at_one_place():
    with pytest.raises(ValidationError, match="twice"):
        Post(id="1", text="a", aspects=(Aspect(term="a", start=0), Aspect(term="a", start=0)))


@pytest.mark.parametrize(
    "made",
    [
        lambda half: Post(id="1", text=half),
        lambda half: Post(id=half, text="a"),
        lambda half: Aspect(term=half),
        lambda half: Media(kind="image", path=half),
    ],
)
def test_half_a_character_is_refused_by_its_place(made):
    with pytest.raises(ValidationError, match=r"character 3 is half a character|unicode string"):
        made("caf\udce9")
    assert made("café 🙂")


@pytest.mark.parametrize("meta", ['{"a": 1e999}', '{"a": [{"b": -1e999}]}'])
def test_facts_that_json_cannot_say_are_refused_and_do_not_become_null(meta):
    with pytest.raises(ValidationError, match="not finite"):
        Post.model_validate_json('{"id": "1", "text": "a", "meta": %s}' % meta)  # noqa: UP031


@pytest.mark.parametrize("probs", [{"negative": 0.5}, {"negative": 1.2, "positive": -0.2}])
def test_probabilities_must_be_probabilities(probs):
    with pytest.raises(ValidationError, match="sum to 1"):
        Opinion(by="x", probs=probs)


def test_probability_is_that_of_the_chosen_polarity():
    said = Opinion(by="x", polarity="negative", probs={"negative": 0.75, "positive": 0.25})
    assert said.probability == 0.75
    assert Opinion(by="x", polarity="negative").probability is None


def test_adding_an_opinion_leaves_the_example_as_it_was():
    gold = Opinion(by="gold", aspect=POST.aspects[0], polarity=Polarity.POSITIVE)
    example = Example(post=POST, opinions=(gold,))
    more = example.adding(Opinion(by="echo"))
    assert example.opinions == (gold,)
    assert more.said_by("echo") == (Opinion(by="echo"),)


def test_an_example_survives_json():
    example = Example(post=POST, opinions=(Opinion(by="x", raw="ö\u200b🙂", score=-2.5),))
    assert Example.model_validate_json(example.model_dump_json()) == example
