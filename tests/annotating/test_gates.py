"""Gates: each refuses what it is for, lets the rest pass, and changes nothing."""

import json

import pytest

from gen_msa.annotating.gates import Bench, Candidate, gates
from gen_msa.errors import UserError
from gen_msa.readers import Reading
from gen_msa.settings import build
from gen_msa.types import WHOLE_POST, Aspect, Opinion, Polarity, Post

TEXT = "The crew was lovely , the T - Mobile signal was awful #Zurich"
CREW, SIGNAL = Aspect(term="crew", start=4), Aspect(term="T - Mobile", start=26)
POST = Post(id="1", text=TEXT, aspects=(CREW, SIGNAL))


def row(reason, aspect=CREW, label="positive", post=POST):
    said = Opinion(by="t", aspect=aspect, polarity=Polarity(label), explanation=reason)
    return Candidate(post, said)


def gate(name, tmp_path, *, sample=None, **options):
    kind = gates[name]
    return kind(build(kind.Options, options, "here"), Bench(tmp_path, sample))


def verdict(name, tmp_path, candidate, **options):
    before = candidate.said.model_dump_json()
    (why,) = gate(name, tmp_path, **options).check([candidate])
    assert candidate.said.model_dump_json() == before
    return why


@pytest.mark.parametrize("name", gates.names())
def test_every_gate_has_one_verdict_a_row_and_a_fingerprint_of_plain_json(name, tmp_path):
    def sample(posts, draw):
        return [Reading()] * len(posts)

    own = {"blind": {"reader": "echo"}}.get(name, {})
    made = gate(name, tmp_path, sample=sample, **own)
    rows = [row('The crew is called "lovely", which praises it.'), row(None), row("")]
    verdicts = made.check(rows)
    assert len(verdicts) == 3
    assert all(v is None or v for v in verdicts)
    json.dumps(made.fingerprint())
    assert made.stage in ("words", "asks", "file")
    assert made.check([]) == []


@pytest.mark.parametrize(
    "name", ["naming", "quoting", "clues", "contradiction", "objects", "prose"]
)
def test_an_answer_without_a_reason_passes_no_gate_of_reasons(name, tmp_path):
    assert verdict(name, tmp_path, row(None)) == "it gives no reason"


@pytest.mark.parametrize(
    ("reason", "aspect", "why"),
    [
        ("The crew is praised.", CREW, None),
        ("They are praised.", CREW, "it does not name 'crew'"),
        ("The crewmates are praised.", CREW, "it does not name 'crew'"),
        ("T-Mobile is bad, the crew is praised.", CREW, "another aspect before"),
        ("T-Mobile is called awful.", SIGNAL, None),
        ("It is fine.", WHOLE_POST, None),
    ],
)
def test_naming_wants_the_aspect_and_gives_no_credit_for_a_rival(tmp_path, reason, aspect, why):
    said = verdict("naming", tmp_path, row(reason, aspect))
    assert said == why if why is None else why in said


def test_naming_can_let_a_rival_stand_first(tmp_path):
    candidate = row("T-Mobile is bad, the crew is praised.")
    assert verdict("naming", tmp_path, candidate, rival_first=True) is None


def test_length_counts_words(tmp_path):
    assert verdict("length", tmp_path, row("one two three four"), max_words=4) is None
    assert verdict("length", tmp_path, row("a b c d e"), max_words=4) == "5 words, at most 4"
    assert verdict("length", tmp_path, row("Nice crew")) == "2 words, at least 4"
    with pytest.raises(UserError, match="nothing could pass"):
        gate("length", tmp_path, min_words=9, max_words=3)


def test_quoting_refuses_an_invented_quote_and_names_it(tmp_path):
    assert verdict("quoting", tmp_path, row('It says "lovely" of the "crew".')) is None
    assert "'charming'" in verdict("quoting", tmp_path, row('It says "charming" of the crew.'))
    assert verdict("quoting", tmp_path, row("It praises the crew.")) is None
    few = verdict("quoting", tmp_path, row('It praises the "crew".'), least=1)
    assert few == "0 quotes, at least 1"


@pytest.mark.parametrize(
    ("reason", "label", "passes"),
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
def test_contradiction_reads_what_a_reason_says_of_its_own_aspect(tmp_path, reason, label, passes):
    assert (verdict("contradiction", tmp_path, row(reason, label=label)) is None) is passes


def test_objects_must_be_in_the_words_of_the_picture_or_the_post(tmp_path):
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"1": "Two ladies beside a red airplane"}))
    own = {"sources": {"context": {"files": [str(captions)]}}}
    assert verdict("objects", tmp_path, row("A woman stands by the plane."), **own) is None
    why = verdict("objects", tmp_path, row("A woman holds a trophy and a dog."), **own)
    assert why == "nothing shows: trophy, dog"
    assert verdict("objects", tmp_path, row("She has a trophy and a dog."), **own, most=2) is None
    nobody = Post(id="2", text="A dog is here", aspects=(Aspect(term="dog", start=2),))
    assert (
        verdict("objects", tmp_path, row("The dog is here.", nobody.aspects[0], post=nobody))
        is None
    )
    why = verdict("objects", tmp_path, row("The cat is here.", nobody.aspects[0], post=nobody))
    assert why == "nothing shows: cat"  # a picture nobody described supports nothing


def test_clues_are_words_of_the_post_or_of_its_picture_and_not_the_aspect_s_name(tmp_path):
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"1": "Two ladies beside a red airplane"}))
    empty = row("The crew is simply described, without an opinion of the crew.")
    assert verdict("clues", tmp_path, empty) == "0 clues of the post, at least 1"
    assert verdict("clues", tmp_path, row("The crew in Zurich is fine.")) is None
    picture = row("The crew stand at an airplane.")
    assert verdict("clues", tmp_path, picture) is not None
    own = {"sources": {"context": {"files": [str(captions)]}}}
    assert verdict("clues", tmp_path, picture, **own) is None
    with pytest.raises(UserError, match="objects and context, not syntax"):
        gate("clues", tmp_path, sources={"syntax": {}})


def test_objects_come_from_a_detector_s_list_as_well(tmp_path):
    found = tmp_path / "found.json"
    found.write_text(json.dumps({"1": [["umbrella", 0.9]]}))
    own = {"sources": {"objects": {"file": str(found)}}}
    assert verdict("objects", tmp_path, row("An umbrella keeps the crew dry."), **own) is None
    assert "pizza" in verdict("objects", tmp_path, row("A pizza makes the crew happy."), **own)


@pytest.mark.parametrize(
    ("reason", "what"),
    [
        ("The crew is praised.", None),
        ("The crew is praised. ![](https://example.org/a.png)", "a link"),
        ("The crew is **praised**.", "markup"),
        ("The crew is praised.\nSentiment: Positive", "a label field"),
        ("The crew is praised.\n\nHowever, that may be.", "2 paragraphs"),
    ],
)
def test_prose_refuses_links_markup_and_forms(tmp_path, reason, what):
    why = verdict("prose", tmp_path, row(reason))
    assert why is None if what is None else why.startswith(what)


def test_novelty_keeps_the_first_of_near_duplicates_whatever_the_aspect(tmp_path):
    made = gate("novelty", tmp_path, most=0.7)
    same = "The words say nothing good or bad about the {} and only report what there is to see"
    rows = [
        row(same.format("crew")),
        row(same.format("T - Mobile"), SIGNAL),
        row(same.format("crew") + " today"),
        row("Praise for the crew: they are lovely people to meet on a train"),
    ]
    first, second, third, fourth = made.check(rows)
    assert (first, fourth) == (None, None)
    assert second == third == "much like the reason given for post '1'"


def test_novelty_finds_by_prefix_what_a_search_over_all_pairs_finds(tmp_path):
    words = ["red", "blue", "old", "new", "big", "cold", "good", "bad", "fast", "slow"]
    said = [" ".join(words[(i * k) % 10] for i in range(8)) for k in range(1, 60)]
    made = gate("novelty", tmp_path, most=0.6)
    quick = [v is None for v in made.check([row(s, WHOLE_POST) for s in said])]
    kept: list[set[str]] = []
    slow = []
    for s in said:
        w = s.split()
        runs = {" ".join(w[i : i + 3]) for i in range(6)}
        slow.append(not any(len(runs & k) >= 0.6 * len(runs | k) for k in kept))
        kept += [runs] if slow[-1] else []
    assert quick == slow
    assert 1 < sum(quick) < len(quick)


def saying(answers):
    """A teacher that draws these labels, one draw after the other; None is unreadable."""

    def sample(posts, draw):
        said = answers[draw]
        label = None if said is None else Polarity(said)
        return [
            Reading(tuple(Opinion(by="t", aspect=a, polarity=label) for a in p.aspects))
            for p in posts
        ]

    return sample


def test_agreement_counts_the_votes_for_the_label(tmp_path):
    votes = saying(["positive", "negative", "positive", None, "positive"])
    reason = row("whatever")
    assert verdict("agreement", tmp_path, reason, sample=votes, k=5, least=0.6) is None
    why = verdict("agreement", tmp_path, reason, sample=votes, k=5, least=0.8)
    assert why == "3 of 5 further answers agree"
    with pytest.raises(UserError, match="needs a reader that draws answers"):
        gate("agreement", tmp_path)


def script(tmp_path, *lines):
    path = tmp_path / "script.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {
        "reader": "echo",
        "prompt": "reader/plain",
        "backend": {"script": str(path)},
        "cues": {},
    }


def test_blind_shows_a_second_reader_the_masked_reason_and_nothing_else(tmp_path):
    lines = [
        {"match": "lovely , the", "text": "Sentiment: neutral"},  # the post itself was shown
        {"regex": "(?i)positive tone", "text": "Sentiment: neutral"},  # the label was shown
        {"match": "warmth", "text": "Sentiment: positive"},
        {"match": "shrug", "text": "who knows"},
        {"match": "", "text": "Sentiment: negative"},
    ]
    made = gate("blind", tmp_path, **script(tmp_path, *lines))
    rows = [
        row("A positive tone: warmth for the crew."),
        row("The crew is late again.", label="positive"),
        row("A shrug for the crew."),
        row(None),
    ]
    assert made.check(rows) == [
        None,
        "it reads as negative; the label is positive",
        "no label could be read from it",
        "it gives no reason",
    ]


def test_blind_can_ask_for_a_sure_reader(tmp_path):
    scores = {" negative": -3.0, " neutral": -3.0, " positive": -0.2}
    line = {"match": "", "text": "Sentiment: positive", "option_logprobs": scores, "form": "slot"}
    own = script(tmp_path, line)
    assert verdict("blind", tmp_path, row("It is bright."), **own, least=0.5) is None
    assert "probability of" in verdict("blind", tmp_path, row("It is bright."), **own, least=0.99)
