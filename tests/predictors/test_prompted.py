"""A prompted reader: which prompt is asked about what, and what its opinions remember."""

import json
from pathlib import Path

import pytest

from gen_msa.errors import UserError
from gen_msa.predictors import PredictorSettings, make
from gen_msa.types import OVERALL_ASPECT, Aspect, Media, Polarity, Post, Status
from tests.fixtures.posts import post, write_image


def predict(posts, root=Path(), **settings):
    predictor = make(PredictorSettings(**{"model": "echo", **settings}), root)
    return [list(r.opinions) for r in predictor.predict(posts)]


def script_settings(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return {"backend": {"script": str(path)}}


POST_WITHOUT_ASPECTS = Post(
    id="b", text="The Soup at Marta was wonderful but the waiter ignored us"
)


def test_given_aspects_are_requested_one_by_one_with_cues():
    (opinions,) = predict([post(3)])
    assert [o.aspect for o in opinions] == list(post(3).aspects)
    for o in opinions:
        assert o.provenance["aspect_source"] == "given"
        assert o.provenance["prompt"].startswith("predict/full@")
        assert o.provenance["cue_source.syntax"]
        assert o.probability == max(o.probs.values())


def test_quoted_text_becomes_evidence_spans():
    (opinions,) = predict([post(3)])
    for o in opinions:
        for e in o.evidence:
            assert e.start is not None
            assert post(3).text[e.start : e.start + len(e.quote)] == e.quote
    assert any(o.evidence for o in opinions)


def test_model_lists_aspects_that_are_not_given(tmp_path):
    answer = {
        "aspects": [
            {"aspect": "soup", "sentiment": "positive", "explanation": 'It says "wonderful".'},
            {"aspect": "waiter", "sentiment": "negative", "explanation": 'It says "ignored us".'},
        ]
    }
    (opinions,) = predict(
        [POST_WITHOUT_ASPECTS], **script_settings(tmp_path, {"text": json.dumps(answer)})
    )
    assert [(o.aspect.term, o.polarity) for o in opinions] == [
        ("Soup", Polarity.POSITIVE),
        ("waiter", Polarity.NEGATIVE),
    ]
    assert {o.provenance["aspect_source"] for o in opinions} == {"model"}


def test_aspects_can_come_from_the_parse():
    (opinions,) = predict([POST_WITHOUT_ASPECTS], aspects="parse")
    assert {"waiter"} <= {o.aspect.term.removeprefix("the ") for o in opinions}
    assert {o.provenance["aspect_source"] for o in opinions} == {"parse"}


@pytest.mark.parametrize("images", [[], ["gone.png"]])
@pytest.mark.parametrize("aspects", [(), (Aspect(term="screen"),)])
def test_post_with_neither_text_nor_image_is_rejected(images, aspects, tmp_path):
    media = tuple(Media(kind="image", path=path) for path in images)
    blank = Post(id="e", text=" \n", media=media, aspects=aspects)
    predictor = make(PredictorSettings(model="echo"), tmp_path)
    rejected, answered = predictor.predict([blank, POST_WITHOUT_ASPECTS])
    assert (rejected.opinions, answered.rejection) == ((), "")
    assert rejected.rejection == "the post has no text, and no image of it was seen"


def test_post_without_aspects_is_predicted_overall():
    (opinions,) = predict([Post(id="e", text="Oh.")], aspects="parse")
    assert [o.aspect for o in opinions] == [OVERALL_ASPECT]
    assert opinions[0].provenance["aspect_source"] == "overall: parse found none"
    (overall_opinions,) = predict([POST_WITHOUT_ASPECTS], aspects="overall")
    assert [o.aspect for o in overall_opinions] == [OVERALL_ASPECT]
    assert overall_opinions[0].provenance["aspect_source"] == "overall"


def test_mixed_posts_keep_their_order():
    overall_post = POST_WITHOUT_ASPECTS.model_copy(update={"id": "w", "aspects": (OVERALL_ASPECT,)})
    opinions = predict([post(0), POST_WITHOUT_ASPECTS, overall_post, post(1)])
    assert [o.aspect for o in opinions[0]] == list(post(0).aspects)
    assert {o.provenance["aspect_source"] for o in opinions[1]} == {"model"}
    assert [o.aspect for o in opinions[2]] == [OVERALL_ASPECT]
    assert [o.aspect for o in opinions[3]] == list(post(1).aspects)


def test_unparsed_answer_is_retried_with_constrained_prompt(tmp_path):
    unparsable = {"match": "quotes the deciding words", "text": "well, who can say"}
    parsable = {"match": "The post stands between", "text": "Sentiment: negative"}
    (opinions,) = predict(
        [post(0)], reask_prompt="", **script_settings(tmp_path, unparsable, parsable)
    )
    assert {(o.status, o.polarity) for o in opinions} == {(Status.UNPARSED, None)}
    (opinions,) = predict([post(0)], **script_settings(tmp_path, unparsable, parsable))
    assert {(o.status, o.polarity) for o in opinions} == {(Status.REPARSED, Polarity.NEGATIVE)}
    assert opinions[0].provenance["reasked_with"].startswith("predict/reask@")
    assert opinions[0].raw.startswith("well, who can say")


def test_preview_returns_the_requests(tmp_path):
    write_image(tmp_path / "a.png")
    predictor = make(PredictorSettings(model="echo"), tmp_path)
    previews = predictor.preview([post(0, images=["a.png"])])
    assert len(previews) == 2
    assert previews[0].images[0].startswith(str(tmp_path / "a.png"))
    assert post(0).text in previews[0].prompt
    assert previews[0].tokens > 20
    assert previews[0].cues["syntax"]


def test_cue_without_a_slot_in_the_prompt_is_an_error():
    with pytest.raises(UserError, match="no slot 'syntax'"):
        predict([post(0)], prompt="predict/plain", cues={"syntax": {}})


def test_unknown_model_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'builtin'"):
        make(PredictorSettings(model="bultin"), Path())
