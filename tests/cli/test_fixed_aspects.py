"""One list of aspects for every post of a file, as listening to brands needs it."""

import csv
import json
import warnings

import pytest

import gen_msa as gm
from gen_msa import manifest
from gen_msa.annotation import JobSettings
from gen_msa.api.explain import annotate, explain
from gen_msa.errors import InputWarning, UserError
from gen_msa.models.inference import serialization
from gen_msa.settings import build
from gen_msa.types import Aspect, Polarity
from tests.fixtures.fake_openai import FakeOpenAI, last_message_text, reply
from tests.fixtures.posts import post, write_posts
from tests.fixtures.tiny_students import make_collator, make_student

ROWS = (
    'text,brand\n"Far too expensive, but the Battery lasts",A\n"I started with my battery low",B\n'
)
BRANDS = ["price", "battery", "art"]
EXPECTED = [
    [("price", None), ("Battery", 27), ("art", None)],
    [("price", None), ("battery", 18), ("art", None)],
]
"""No `art` in `started`; a term in the letters of the post."""


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(ROWS, "utf-8")
    return path


@pytest.fixture
def student(tmp_path):
    with manifest.atomic_directory(tmp_path / "s") as draft:
        serialization.save_student(draft, make_student(), make_collator(), text="post", name="text")
    return f"student:{tmp_path / 's'}"


def places(opinions, n=3):
    listed = [(o.aspect.term, o.aspect.start) for o in opinions]
    return [listed[i : i + n] for i in range(0, len(listed), n)]


def test_echo_predicts_each_brand_in_each_post(reviews):
    opinions = explain(reviews, model="echo", aspects=BRANDS, cues={})

    assert places(opinions) == EXPECTED
    assert {o.provenance["aspect_source"] for o in opinions} == {"given"}
    assert [list(e.post.aspects) for e in opinions.examples] == [
        [Aspect(term=t, start=s) for t, s in row] for row in EXPECTED
    ]


def test_student_labels_each_brand_in_each_post(reviews, student):
    opinions = explain(reviews, model=student, fixed_aspects=BRANDS)

    assert places(opinions) == EXPECTED
    assert all(o.polarity is not None and o.probs for o in opinions)


def test_server_receives_each_brand_with_the_whole_post(reviews):
    def answer(body):
        label = "negative" if '"price"' in last_message_text(body) else "neutral"
        return reply(f"Sentiment: {label}\nExplanation: The post says it.")

    with FakeOpenAI(answer=answer) as server:
        opinions = explain(reviews, model=f"http:{server.url}#m", aspects=BRANDS, cues={})
    texts = [last_message_text(body) for body in server.request_bodies]

    assert places(opinions) == EXPECTED
    assert [o.polarity for o in opinions][::3] == [Polarity.NEGATIVE] * 2
    assert sum("Far too expensive, but the Battery lasts" in t for t in texts) == 3
    assert len(texts) == 6


def test_teacher_answers_for_the_list(reviews):
    opinions = annotate(
        reviews, model="echo", prompt="teacher/rationale", aspects=BRANDS, cues={}, progress=False
    )

    assert places(opinions) == EXPECTED


def test_own_aspects_are_replaced_with_a_note_and_their_labels_stay(tmp_path):
    row = {"id": "1", "text": "good tea", "aspects": [{"term": "tea", "polarity": "positive"}]}
    path = tmp_path / "posts.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.warns(InputWarning, match="own, first '1'"):
        opinions = explain(path, model="echo", fixed_aspects=["cup"], cues={})

    (example,) = opinions.examples
    assert example.post.aspects == (Aspect(term="cup"),)
    assert [o.aspect.term for o in example.opinions_by("gold")] == ["tea"]
    assert [o.aspect.term for o in opinions] == ["cup"]


def test_posts_with_exactly_these_aspects_give_no_note(tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", [post(0)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        terms = [a.term for a in post(0).aspects]
        assert len(explain(path, model="echo", fixed_aspects=terms, cues={})) == 2


@pytest.mark.parametrize("verb", ["explain", "annotate"])
def test_command_line_takes_a_list_for_a_file(gen_msa, reviews, tmp_path, verb):
    out = tmp_path / "o.jsonl"
    options = [x for brand in BRANDS for x in ("--aspect", brand)]
    completed = gen_msa(verb, reviews, "-m", "echo", "-o", out, *options, "cues={}")
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]

    assert completed.code == 0, completed.err
    opinions = [[(o["aspect"]["term"], o["aspect"]["start"]) for o in r["opinions"]] for r in lines]
    assert opinions == EXPECTED
    if verb == "annotate":
        assert "2 posts, 6 requests" in completed.err


def test_csv_shows_which_brands_a_post_mentions(gen_msa, reviews, tmp_path):
    csv_path = tmp_path / "o.csv"
    gen_msa("explain", reviews, "-m", "echo", "--csv", csv_path, "--aspect", "battery", "cues={}")
    with csv_path.open(encoding="utf-8-sig", newline="") as f:
        assert [(r["aspect"], r["start"]) for r in csv.DictReader(f)] == [
            ("Battery", "27"),
            ("battery", "18"),
        ]


def test_strict_refuses_to_replace_aspects(gen_msa, tmp_path):
    path = write_posts(tmp_path / "posts.jsonl", [post(0)])
    completed = gen_msa("explain", path, "-m", "echo", "--aspect", "price", "--strict")

    assert completed.code == 2
    assert "aspects of their own" in completed.err


def test_preview_shows_the_list(gen_msa, reviews):
    completed = gen_msa("preview", reviews, "-m", "echo", "--aspect", "price", "cues={}")

    assert 'toward "price"' in completed.out


def test_shards_merge_to_the_whole_job(gen_msa, reviews, tmp_path):
    job = (reviews, "-m", "echo", "--aspect", "price", "--aspect", "battery", "cues={}", "chunk=1")
    gen_msa("explain", *job, "-o", tmp_path / "whole.jsonl")
    for shard in ("1/2", "2/2"):
        gen_msa("explain", *job, "-o", tmp_path / "o.jsonl", "--shard", shard)
    gen_msa("merge", *sorted(tmp_path.glob("o.*.part")), "-o", tmp_path / "o.jsonl")

    assert (tmp_path / "o.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fixed_aspects": ["Price", "price "]}, "listed twice"),
        ({"fixed_aspects": [" "]}, "--overall"),
        ({"fixed_aspects": ["price"], "aspects": "overall"}, "exclude each other"),
        ({"fixed_aspects": ["price"], "aspects": "parse"}, "exclude each other"),
    ],
)
def test_lists_that_ask_nothing_clear_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        build(JobSettings, settings, "the test")


def test_loaded_model_takes_the_setting(reviews):
    model = gm.load("echo", fixed_aspects=["price"], cues={})

    assert places(model.explain(reviews), 1) == [[("price", None)]] * 2
    assert [r.aspect for r in model.preview(reviews)] == ["price"] * 2
