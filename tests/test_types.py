import pytest
from pydantic import ValidationError

from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post

POST = Post(id="1", text="Screen great", aspects=(Aspect(term="Screen", start=0),))


def test_post_has_no_label_field():
    with pytest.raises(ValidationError):
        Post(id="1", text="x", polarity="positive")


def test_aspect_must_match_its_offset():
    with pytest.raises(ValidationError, match="is not at 3"):
        Post(id="1", text="Screen great", aspects=(Aspect(term="great", start=3),))


def test_duplicate_aspect_is_rejected():
    with pytest.raises(ValidationError, match="twice"):
        Post(id="1", text="a", aspects=(Aspect(term="a", start=0), Aspect(term="a", start=0)))


@pytest.mark.parametrize(
    "build",
    [
        lambda half: Post(id="1", text=half),
        lambda half: Post(id=half, text="a"),
        lambda half: Aspect(term=half),
        lambda half: Media(kind="image", path=half),
    ],
)
def test_lone_surrogate_is_rejected_by_position(build):
    with pytest.raises(ValidationError, match=r"character 3 is half a character|unicode string"):
        build("caf\udce9")
    assert build("café 🙂")


@pytest.mark.parametrize("meta", ['{"a": 1e999}', '{"a": [{"b": -1e999}]}'])
def test_non_finite_metadata_is_rejected(meta):
    with pytest.raises(ValidationError, match="not finite"):
        Post.model_validate_json('{"id": "1", "text": "a", "meta": %s}' % meta)  # noqa: UP031


@pytest.mark.parametrize("probs", [{"negative": 0.5}, {"negative": 1.2, "positive": -0.2}])
def test_probs_must_be_a_distribution(probs):
    with pytest.raises(ValidationError, match="sum to 1"):
        Opinion(annotator="x", probs=probs)


def test_probability_is_that_of_the_chosen_polarity():
    opinion = Opinion(
        annotator="x", polarity="negative", probs={"negative": 0.75, "positive": 0.25}
    )
    assert opinion.probability == 0.75
    assert Opinion(annotator="x", polarity="negative").probability is None


def test_with_opinions_keeps_the_original_example():
    gold = Opinion(annotator="gold", aspect=POST.aspects[0], polarity=Polarity.POSITIVE)
    example = Example(post=POST, opinions=(gold,))
    extended = example.with_opinions(Opinion(annotator="echo"))
    assert example.opinions == (gold,)
    assert extended.opinions_by("echo") == (Opinion(annotator="echo"),)


def test_example_survives_json():
    example = Example(post=POST, opinions=(Opinion(annotator="x", raw="ö\u200b🙂", score=-2.5),))
    assert Example.model_validate_json(example.model_dump_json()) == example
