"""Filters: each rejects what it is for, lets the rest pass, and changes nothing."""

import json
import time

import pytest

from gen_msa.annotation.filters import Candidate, FilterContext, filters
from gen_msa.errors import UserError
from gen_msa.predictors import Prediction
from gen_msa.settings import build
from gen_msa.types import OVERALL_ASPECT, Aspect, Opinion, Polarity, Post

TEXT = "The crew was lovely , the T - Mobile signal was awful #Zurich"
CABIN_CREW, SIGNAL = Aspect(term="crew", start=4), Aspect(term="T - Mobile", start=26)
POST = Post(id="1", text=TEXT, aspects=(CABIN_CREW, SIGNAL))


def make_candidate(explanation, aspect=CABIN_CREW, label="positive", post=POST):
    opinion = Opinion(
        annotator="t", aspect=aspect, polarity=Polarity(label), explanation=explanation
    )
    return Candidate(post, opinion)


def make_filter(name, tmp_path, *, sample=None, **options):
    factory = filters[name]
    return factory(build(factory.Options, options, "here"), FilterContext(tmp_path, sample))


def verdict(name, tmp_path, candidate, **options):
    before = candidate.opinion.model_dump_json()
    (reason,) = make_filter(name, tmp_path, **options).check([candidate])
    assert candidate.opinion.model_dump_json() == before
    return reason


@pytest.mark.parametrize("name", filters.names())
def test_filter_gives_one_verdict_per_row_and_json_fingerprint(name, tmp_path):
    def sample(posts, draw):
        return [Prediction()] * len(posts)

    filter_options = {"label_recovery": {"model": "echo"}}.get(name, {})
    answer_filter = make_filter(name, tmp_path, sample=sample, **filter_options)
    rows = [
        make_candidate('The crew is called "lovely", which praises it.'),
        make_candidate(None),
        make_candidate(""),
    ]
    verdicts = answer_filter.check(rows)
    assert len(verdicts) == 3
    assert all(v is None or v for v in verdicts)
    json.dumps(answer_filter.fingerprint())
    assert answer_filter.stage in ("text", "model", "file")
    assert answer_filter.check([]) == []


@pytest.mark.parametrize(
    "name",
    ["mentions_aspect", "verbatim_quotes", "grounded", "contradiction", "objects", "plain_prose"],
)
def test_explanation_filters_reject_missing_explanation(name, tmp_path):
    assert verdict(name, tmp_path, make_candidate(None)) == "it gives no explanation"


@pytest.mark.parametrize(
    ("explanation", "aspect", "expected"),
    [
        ("The crew is praised.", CABIN_CREW, None),
        ("They are praised.", CABIN_CREW, "it does not name 'crew'"),
        ("The crewmates are praised.", CABIN_CREW, "it does not name 'crew'"),
        ("T-Mobile is bad, the crew is praised.", CABIN_CREW, "names another aspect before"),
        ("T-Mobile is called awful.", SIGNAL, None),
        ("It is fine.", OVERALL_ASPECT, None),
    ],
)
def test_mentions_aspect_needs_aspect_before_rivals(tmp_path, explanation, aspect, expected):
    actual = verdict("mentions_aspect", tmp_path, make_candidate(explanation, aspect))
    assert actual == expected if expected is None else expected in actual


def test_mentions_aspect_allow_rival_first(tmp_path):
    candidate = make_candidate("T-Mobile is bad, the crew is praised.")
    assert verdict("mentions_aspect", tmp_path, candidate, allow_rival_first=True) is None


def test_length_counts_words(tmp_path):
    assert verdict("length", tmp_path, make_candidate("one two three four"), max_words=4) is None
    assert (
        verdict("length", tmp_path, make_candidate("a b c d e"), max_words=4)
        == "5 words, at most 4"
    )
    assert verdict("length", tmp_path, make_candidate("Nice crew")) == "2 words, at least 4"
    with pytest.raises(UserError, match="nothing could pass"):
        make_filter("length", tmp_path, min_words=9, max_words=3)


def test_verbatim_quotes_rejects_and_names_invented_quote(tmp_path):
    assert (
        verdict("verbatim_quotes", tmp_path, make_candidate('It says "lovely" of the "crew".'))
        is None
    )
    assert "'charming'" in verdict(
        "verbatim_quotes", tmp_path, make_candidate('It says "charming" of the crew.')
    )
    assert verdict("verbatim_quotes", tmp_path, make_candidate("It praises the crew.")) is None
    reason = verdict(
        "verbatim_quotes", tmp_path, make_candidate('It praises the "crew".'), min_quotes=1
    )
    assert reason == "0 quotes, at least 1"


@pytest.mark.parametrize(
    ("explanation", "label", "passes"),
    [
        ("The sentiment towards the crew is negative.", "positive", False),
        ("The sentiment towards the crew is positive.", "positive", True),
        ("No positive or negative opinion is given, the tone is neutral.", "neutral", True),
        ("It does not express any positive sentiment.", "neutral", True),
        ("The sentiment could be positive or negative.", "neutral", True),
        ('The tone is set by "a negative opinion".', "positive", True),
        ("A positive view of rain, but a negative tone towards the crew.", "positive", False),
        ("A positive view of rain, but a negative tone towards the crew.", "negative", True),
        ("The negative space of the picture is large.", "positive", True),
    ],
)  # fmt: skip
def test_contradiction_reads_label_stated_for_the_aspect(tmp_path, explanation, label, passes):
    assert (
        verdict("contradiction", tmp_path, make_candidate(explanation, label=label)) is None
    ) is passes


def test_objects_must_appear_in_image_or_post(tmp_path):
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"1": "Two ladies beside a red airplane"}))
    filter_options = {"sources": {"context": {"files": [str(captions)]}}}
    assert (
        verdict(
            "objects", tmp_path, make_candidate("A woman stands by the plane."), **filter_options
        )
        is None
    )
    reason = verdict(
        "objects", tmp_path, make_candidate("A woman holds a trophy and a dog."), **filter_options
    )
    assert reason == "not in post or image: trophy, dog"
    assert (
        verdict(
            "objects",
            tmp_path,
            make_candidate("She has a trophy and a dog."),
            **filter_options,
            max_unsupported=2,
        )
        is None
    )
    undescribed_post = Post(id="2", text="A dog is here", aspects=(Aspect(term="dog", start=2),))
    assert (
        verdict(
            "objects",
            tmp_path,
            make_candidate("The dog is here.", undescribed_post.aspects[0], post=undescribed_post),
        )
        is None
    )
    reason = verdict(
        "objects",
        tmp_path,
        make_candidate("The cat is here.", undescribed_post.aspects[0], post=undescribed_post),
    )
    assert reason == "not in post or image: cat"  # an image without a description supports nothing


def test_grounded_needs_words_of_post_or_image_beyond_aspect(tmp_path):
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"1": "Two ladies beside a red airplane"}))
    ungrounded = make_candidate("The crew is simply described, without an opinion of the crew.")
    assert verdict("grounded", tmp_path, ungrounded) == "0 claims from the post, at least 1"
    assert verdict("grounded", tmp_path, make_candidate("The crew in Zurich is fine.")) is None
    from_image = make_candidate("The crew stand at an airplane.")
    assert verdict("grounded", tmp_path, from_image) is not None
    filter_options = {"sources": {"context": {"files": [str(captions)]}}}
    assert verdict("grounded", tmp_path, from_image, **filter_options) is None
    with pytest.raises(UserError, match="objects and context, not syntax"):
        make_filter("grounded", tmp_path, sources={"syntax": {}})


def test_objects_accepts_detector_output(tmp_path):
    detections_path = tmp_path / "detections.json"
    detections_path.write_text(json.dumps({"1": [["umbrella", 0.9]]}))
    filter_options = {"sources": {"objects": {"file": str(detections_path)}}}
    assert (
        verdict(
            "objects", tmp_path, make_candidate("An umbrella keeps the crew dry."), **filter_options
        )
        is None
    )
    assert "pizza" in verdict(
        "objects", tmp_path, make_candidate("A pizza makes the crew happy."), **filter_options
    )


@pytest.mark.parametrize(
    ("explanation", "expected"),
    [
        ("The crew is praised.", None),
        ("The crew is praised. ![](https://example.org/a.png)", "a link"),
        ("The crew is **praised**.", "markup"),
        ("The crew is praised.\nSentiment: Positive", "a label field"),
        ("The crew is praised.\n\nHowever, that may be.", "2 paragraphs"),
        ("See [note [1](page) for it.", "a link"),
        ("Praised:\n \n  ## Crew\nGood.", "markup"),
        ("| a | b |\nis praised.", "markup"),
        ('It is <a title="<b">praised</a>.', "markup"),
        ("Less < more, [sic] and C# are words | signs.", None),
    ],
)
def test_plain_prose_rejects_links_markup_and_label_fields(tmp_path, explanation, expected):
    actual = verdict("plain_prose", tmp_path, make_candidate(explanation))
    assert actual is None if expected is None else actual.startswith(expected)


@pytest.mark.parametrize("unit", ["\n", "\n ", "[", "<a", "<a_", "|a", "#", " #"])
def test_plain_prose_time_is_linear(tmp_path, unit):
    def seconds(length):
        candidate = make_candidate("a" + unit * (length // len(unit)) + "a")
        start = time.process_time()
        verdict("plain_prose", tmp_path, candidate)
        return time.process_time() - start

    # 60,000 characters took 4 s and more where the rules were quadratic.
    assert min(seconds(60_000) for _ in range(2)) < 0.5


def test_near_duplicate_keeps_first_across_aspects(tmp_path):
    answer_filter = make_filter("near_duplicate", tmp_path, max_similarity=0.7)
    template = "The words say nothing good or bad about the {} and only report what there is to see"
    rows = [
        make_candidate(template.format("crew")),
        make_candidate(template.format("T - Mobile"), SIGNAL),
        make_candidate(template.format("crew") + " today"),
        make_candidate("Praise for the crew: they are lovely people to meet on a train"),
    ]
    first, second, third, fourth = answer_filter.check(rows)
    assert (first, fourth) == (None, None)
    assert second == third == "similar to the explanation of post '1'"


def test_near_duplicate_prefix_search_matches_brute_force(tmp_path):
    vocabulary = ["red", "blue", "old", "new", "big", "cold", "good", "bad", "fast", "slow"]
    texts = [" ".join(vocabulary[(i * k) % 10] for i in range(8)) for k in range(1, 60)]
    answer_filter = make_filter("near_duplicate", tmp_path, max_similarity=0.6)
    fast = [
        v is None for v in answer_filter.check([make_candidate(s, OVERALL_ASPECT) for s in texts])
    ]
    accepted: list[set[str]] = []
    brute_force = []
    for s in texts:
        w = s.split()
        shingles = {" ".join(w[i : i + 3]) for i in range(6)}
        brute_force.append(not any(len(shingles & k) >= 0.6 * len(shingles | k) for k in accepted))
        accepted += [shingles] if brute_force[-1] else []
    assert fast == brute_force
    assert 1 < sum(fast) < len(fast)


def label_sampler(answers):
    """Return a sampler that answers with these labels in turn; None cannot be parsed."""

    def sample(posts, draw):
        answer = answers[draw]
        label = None if answer is None else Polarity(answer)
        return [
            Prediction(tuple(Opinion(annotator="t", aspect=a, polarity=label) for a in p.aspects))
            for p in posts
        ]

    return sample


def test_self_consistency_counts_votes_for_the_label(tmp_path):
    votes = label_sampler(["positive", "negative", "positive", None, "positive"])
    candidate = make_candidate("whatever")
    assert (
        verdict(
            "self_consistency", tmp_path, candidate, sample=votes, n_samples=5, min_agreement=0.6
        )
        is None
    )
    rejection = verdict(
        "self_consistency", tmp_path, candidate, sample=votes, n_samples=5, min_agreement=0.8
    )
    assert rejection == "3 of 5 further answers agree"
    with pytest.raises(UserError, match="needs a model that samples"):
        make_filter("self_consistency", tmp_path)


def echo_options(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {
        "model": "echo",
        "prompt": "predict/plain",
        "backend": {"script": str(path)},
        "cues": {},
    }


def test_label_recovery_shows_only_the_masked_explanation(tmp_path):
    lines = [
        {"match": "lovely , the", "text": "Sentiment: neutral"},  # the post itself is in the prompt
        {"regex": "(?i)positive tone", "text": "Sentiment: neutral"},  # the label is in the prompt
        {"match": "warmth", "text": "Sentiment: positive"},
        {"match": "shrug", "text": "who knows"},
        {"match": "", "text": "Sentiment: negative"},
    ]
    answer_filter = make_filter("label_recovery", tmp_path, **echo_options(tmp_path, *lines))
    rows = [
        make_candidate("A positive tone: warmth for the crew."),
        make_candidate("The crew is late again.", label="positive"),
        make_candidate("A shrug for the crew."),
        make_candidate(None),
    ]
    assert answer_filter.check(rows) == [
        None,
        "it reads as negative; the label is positive",
        "no label can be parsed from it",
        "it gives no explanation",
    ]


def test_label_recovery_min_probability(tmp_path):
    scores = {" negative": -3.0, " neutral": -3.0, " positive": -0.2}
    line = {"match": "", "text": "Sentiment: positive", "option_logprobs": scores, "form": "slot"}
    filter_options = echo_options(tmp_path, line)
    assert (
        verdict(
            "label_recovery",
            tmp_path,
            make_candidate("It is bright."),
            **filter_options,
            min_probability=0.5,
        )
        is None
    )
    assert "probability of" in verdict(
        "label_recovery",
        tmp_path,
        make_candidate("It is bright."),
        **filter_options,
        min_probability=0.99,
    )
