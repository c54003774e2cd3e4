"""What a server receives holds no handle, address or number; what comes back has them all."""

import json
import logging
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.annotation import AnnotateSettings, JobSettings, make_job_teacher
from gen_msa.data import ExampleSource
from gen_msa.evaluation.llm_judge import Judge, JudgeSettings
from gen_msa.metrics import Pair
from gen_msa.predictors import PredictorSettings, make
from gen_msa.pseudonyms.placeholders import KEY_ENV_VAR
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post, Status
from tests.fixtures.fake_openai import FakeOpenAI, last_message_text, reply

KINDS = ["handles", "urls", "emails", "phones"]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_ENV_VAR, "a key of the tests")


def sent_text(body):
    """Return the post as the server sees it."""
    return last_message_text(body).partition("POST\n")[2].partition("\nPOST")[0]


def quote_the_post(body):
    """Answer with a sentence that quotes all that the server sees of the post."""
    quoted = json.dumps(f"It says “{sent_text(body)}”.", ensure_ascii=False)
    return reply(f'{{"sentiment": "positive", "explanation": {quoted}}}')


def list_aspects(body):
    first = sent_text(body).split()[0]
    row = {"aspect": first, "sentiment": "negative", "explanation": f"“{first}” is blamed"}
    return reply(json.dumps({"aspects": [row]}))


@pytest.fixture(scope="module")
def server():
    with FakeOpenAI(answer=quote_the_post) as fake:
        yield fake


def predict(server, posts, kinds=(), **options):
    settings = PredictorSettings(
        model=f"http:{server.url}#m", pseudonymize=kinds, cues={"window": {}}, **options
    )
    return make(settings, "images").predict(posts)


def without_provenance(predictions):
    return [
        [o.model_copy(update={"provenance": {}}) for o in prediction.opinions]
        for prediction in predictions
    ]


def sent_bodies(server, start):
    return json.dumps(server.request_bodies[start:], ensure_ascii=False)


names = st.text(string.ascii_letters + string.digits + "_éß名", min_size=4, max_size=10)
plain = st.text(string.ascii_lowercase + string.digits, min_size=4, max_size=8)
items = st.one_of(
    names.map("@{}".format),
    st.tuples(plain, plain).map(lambda p: f"https://{p[0]}.org/@{p[1]}"),
    st.tuples(plain, plain).map(lambda p: f"{p[0]}@{p[1]}.com"),
    st.integers(10**6, 10**7 - 1).map("+49 170 {}".format),
)
fillers = st.sampled_from(["good", "很好", "😀", "the screen", "(wow)", "user", "—", "e\u0301"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(items, min_size=1, max_size=4), st.lists(fillers, min_size=4, max_size=4), st.data()
)
def test_server_gets_no_item_and_the_result_is_the_same(server, chosen, words, data):
    mixed = data.draw(st.permutations([*chosen, *words]))
    text = " ".join(mixed)
    aspects = [
        Aspect(term=term, start=text.index(term)) for term in dict.fromkeys([mixed[0], chosen[0]])
    ]
    post = Post(id="1", text=text, aspects=tuple(aspects), meta={"author": chosen[0]})
    start = len(server.request_bodies)
    hidden = predict(server, [post], KINDS)
    received = sent_bodies(server, start)
    assert [i for i in chosen if i in received] == []
    assert without_provenance(hidden) == without_provenance(predict(server, [post]))
    for opinion in hidden[0].opinions:
        assert opinion.status is Status.OK
        for evidence in opinion.evidence:
            assert text[evidence.start :].startswith(evidence.quote)


def test_quotes_offsets_and_aspects_are_those_of_the_post(server):
    text = "😀 @ana, the soup by @bob: https://t.co/x"
    aspects = (Aspect(term="@bob", start=20), Aspect(term="bob", start=21))
    ((prediction),) = predict(server, [Post(id="1", text=text, aspects=aspects)], KINDS)
    assert [o.aspect for o in prediction.opinions] == list(aspects)
    for opinion in prediction.opinions:
        assert opinion.explanation == f"It says “{text}”."
        assert [(e.quote, e.start) for e in opinion.evidence] == [(text, 0)]
        assert opinion.provenance["pseudonymized"] == "2 handles, 1 url"
        assert "@ana" in (opinion.raw or "")


def test_aspect_that_the_model_lists_is_found_again():
    with FakeOpenAI(answer=list_aspects) as fake:
        post = Post(id="1", text="@acme lost my bag")
        ((prediction),) = predict(fake, [post], ["handles"], aspects="model")
    (opinion,) = prediction.opinions
    assert opinion.aspect == Aspect(term="@acme", start=0)
    assert opinion.explanation == "“@acme” is blamed"
    assert "acme" not in json.dumps(fake.request_bodies)


def test_text_of_images_and_captions_is_hidden(server):
    meta = {"caption": "a photo by @eve", "ocr": "call +49 170 1234567"}
    post = Post(id="1", text="nice", aspects=(Aspect(term="nice", start=0),), meta=meta)
    start = len(server.request_bodies)
    settings = PredictorSettings(
        model=f"http:{server.url}#m",
        pseudonymize=KINDS,
        cues={"context": {"meta": ["caption", "ocr"]}},
    )
    make(settings, "images").predict([post])
    received = sent_bodies(server, start)
    assert "a photo by @" in received
    assert "@eve" not in received
    assert "1234567" not in received


def test_errors_and_logs_hold_no_item(caplog):
    post = Post(id="1", text="@ana is bad", aspects=(Aspect(term="@ana", start=0),))
    with caplog.at_level(logging.DEBUG), FakeOpenAI(lambda *_: "echo") as fake:
        ((prediction),) = predict(fake, [post], ["handles"], backend={"retries": 0})
    assert prediction.opinions[0].status is Status.ERROR
    assert "@ana" not in prediction.opinions[0].provenance["error"]
    assert "@user" in prediction.opinions[0].provenance["error"]
    assert "@ana" not in caplog.text


def test_preview_is_what_would_be_sent(server):
    post = Post(id="1", text="@ana is bad", aspects=(Aspect(term="@ana", start=0),))
    settings = PredictorSettings(model=f"http:{server.url}#m", pseudonymize=["handles"])
    (request,) = make(settings, "images").preview([post])
    assert "@ana" not in request.prompt
    assert "@user" in request.prompt


def test_post_whose_names_cannot_be_found_is_rejected_and_no_other(server):
    foreign = "Αυτό το εστιατόριο του Γιάννη είναι πολύ καλό και φθηνό"
    posts = [Post(id="1", text=foreign), Post(id="2", text="The waiter Tom Hanks was nice")]
    start = len(server.request_bodies)
    rejected, answered = predict(server, posts, ["names"], aspects="overall")
    assert "names cannot be found" in rejected.rejection
    assert "language=" in rejected.hint
    assert answered.opinions[0].explanation == "It says “The waiter Tom Hanks was nice”."
    received = sent_bodies(server, start)
    assert "Γιάννη" not in received
    assert "Hanks" not in received
    settings = PredictorSettings(model=f"http:{server.url}#m", pseudonymize=["names"])
    assert make(settings, "images").preview(posts[:1]) == []


def test_teacher_that_is_given_the_label_sees_placeholders_too(server, tmp_path):
    aspect = Aspect(term="@ana", start=6)
    gold = Opinion(annotator="gold", aspect=aspect, polarity=Polarity.POSITIVE)
    example = Example(post=Post(id="1", text="so by @ana", aspects=(aspect,)), opinions=(gold,))
    job = AnnotateSettings(
        model=f"http:{server.url}#m",
        prompt="teacher/rationale",
        guided=True,
        pseudonymize=["handles"],
    )
    source = ExampleSource("posts.train.jsonl", tmp_path, lambda: iter([example]))
    start = len(server.request_bodies)
    (prediction,) = make_job_teacher(source, job).predict([example])
    assert prediction.opinions[0].aspect == aspect
    assert "@ana" not in sent_bodies(server, start)


def test_fingerprint_changes_with_the_kinds_and_not_without(server):
    plain = make_job_teacher_fingerprint(server)
    assert make_job_teacher_fingerprint(server, pseudonymize=["urls"]) != plain
    assert "pseudonymize" not in json.dumps(plain)


def make_job_teacher_fingerprint(server, **options):
    source = ExampleSource("posts", "images", lambda: iter(()))
    return make_job_teacher(
        source, JobSettings(model=f"http:{server.url}#m", **options)
    ).fingerprint()


def test_judge_sees_placeholders_in_posts_and_explanations():
    def rate(body):
        name = last_message_text(body).partition("POST\n")[2].split()[0]
        return reply(json.dumps({"score": "4", "why": f"it names {name}"}))

    aspect = Aspect(term="@ana", start=0)
    prediction = Opinion(
        annotator="m", aspect=aspect, polarity=Polarity.NEGATIVE, explanation="“@ana” and @bob"
    )
    pair = Pair(
        post=Post(id="1", text="@ana is late", aspects=(aspect,)),
        gold=None,
        prediction=prediction,
        cluster="1",
    )
    with FakeOpenAI(answer=rate) as fake:
        judge = Judge.open(
            JudgeSettings(model=f"http:{fake.url}#j", pseudonymize="handles"), "images"
        )
        texts = {"explanation": prediction.explanation, "answer": "negative"}
        (rating,) = judge.rate([judge.build_question("judge/focus", pair, texts)])
    received = json.dumps(fake.request_bodies)
    assert "@ana" not in received
    assert "@bob" not in received
    assert "@ana" in rating.raw
