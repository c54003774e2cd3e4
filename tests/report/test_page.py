"""The page of posts: counts, images, highlights, gold, and only what the template allows."""

import base64
import hashlib
import re
import weakref

import pytest
from PIL import Image

from gen_msa.report import write_html
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Post, Status
from tests.report.builders import (
    NEG,
    POS,
    aspect_at,
    bus_example,
    opinion,
    phone_example,
    render_page,
)


def test_write_html_writes_one_card_per_post(tmp_path):
    path = tmp_path / "r.html"
    posts = [phone_example(n) for n in range(7)]
    assert write_html(posts, path, title="t", media_root=tmp_path, facts={}) == 7
    assert path.read_text("utf-8").count("<article") == 7


def test_write_html_of_no_posts_has_no_cards(tmp_path):
    parsed = render_page(tmp_path)
    assert parsed.attributes_of("article") == []
    assert "0 posts, 0 opinions." in parsed.text("lead")


def test_page_states_how_many_posts_are_shown(tmp_path):
    parsed = render_page(tmp_path, *map(phone_example, range(12)), limit=5)
    assert len(parsed.attributes_of("article")) == 5
    assert "Showing the first 5 of 12 posts" in parsed.text("notice")
    assert "12 posts, 72 opinions." in parsed.text("lead")


def test_write_html_streams_examples(tmp_path):
    references, live_counts = [], []

    def stream():
        for n in range(50):
            example = phone_example(n)
            references.append(weakref.ref(example))
            live_counts.append(sum(r() is not None for r in references))
            yield example

    write_html(stream(), tmp_path / "r.html", title="t", media_root=tmp_path, facts={})
    assert max(live_counts) <= 3


def test_write_html_keeps_old_report_on_failure(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("old")

    def broken():
        yield phone_example()
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        write_html(broken(), path, title="t", media_root=tmp_path, facts={})
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_write_html_is_deterministic(tmp_path):
    for name in ("1.html", "2.html"):
        write_html(
            [phone_example(), bus_example()],
            tmp_path / name,
            title="t",
            media_root=tmp_path,
            facts={},
        )
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()


def test_header_shows_title_and_facts_in_order(tmp_path):
    parsed = render_page(
        tmp_path, title="Phones & buses", facts={"prompt": "predict/full@12", "seed": "0"}
    )
    assert parsed.text("title") == parsed.text("h1") == "Phones & buses"
    assert parsed.text("facts") == "promptpredict/full@12seed0"


def test_header_counts_opinions_per_annotator(tmp_path):
    header_text = render_page(tmp_path, phone_example()).text("annotator-card")
    assert (
        "a 2 opinions0 negative0 neutral2 positive0 unparsed (0.0 %) · 1 of 2 agree" in header_text
    )
    assert (
        "b 2 opinions0 negative0 neutral1 positive1 unparsed (50.0 %) · 1 of 2 agree" in header_text
    )


def test_csp_allows_only_own_assets_and_data_images(tmp_path):
    parsed = render_page(tmp_path, bus_example())
    policy = next(a["content"] for a in parsed.attributes_of("meta") if "http-equiv" in a)
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(parsed.text(kind).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_page_makes_no_network_request(tmp_path):
    render_page(tmp_path, phone_example(), bus_example())
    html = (tmp_path / "report.html").read_text("utf-8")
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", html) == []
    assert re.findall(r"https?://|@import|url\(|fetch\(|XMLHttp", html) == []


def test_repeated_image_is_stored_once(tmp_path):
    images = render_page(tmp_path, bus_example(), bus_example()).attributes_of("img")
    assert [("data-src" in a, "data-like" in a) for a in images] == [(True, False), (False, True)]
    assert images[0]["id"] == images[1]["data-like"]


def test_rejected_image_shows_reason(tmp_path):
    media = (Media(kind="image", path="missing.png"), Media(kind="audio", path="a.wav"))
    parsed = render_page(tmp_path, Example(post=Post(id="x", text="Hm.", media=media)))
    assert parsed.attributes_of("img") == []
    assert "No image. there is no such file; check the media root missing.png" in parsed.text()
    assert "audio a.wav" in parsed.text("thumbnail")


def test_default_thumbnail_is_small_and_stays_in_media_root(tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    Image.new("RGB", (900, 600), "teal").save(root / "bus.png")
    outside = Media(kind="image", path="../secret.png")
    outside_example = Example(post=Post(id="x", text="", media=(outside,)))
    parsed = render_page(tmp_path, bus_example(), outside_example, media_root=root, draw=None)
    data = parsed.attributes_of("img")[0]["data-src"]
    (tmp_path / "t.jpg").write_bytes(base64.b64decode(data.removeprefix("data:image/jpeg;base64,")))
    with Image.open(tmp_path / "t.jpg") as thumbnail:
        assert max(thumbnail.size) <= 320
    assert "No image." in parsed.text("problem")


def test_quotes_link_to_their_spans(tmp_path):
    parsed = render_page(tmp_path, phone_example())
    ids = {a["id"] for a in parsed.attributes_of("mark")}
    links = [a["href"] for a in parsed.attributes_of("to")]
    assert links
    assert all(link.removeprefix("#") in ids for link in links)
    assert "dim light from the image" in parsed.text("quotes")


def test_wrong_offset_is_reported_not_highlighted(tmp_path):
    misplaced = opinion(
        "a",
        Aspect(term="bus", start=9),
        POS,
        evidence=(Evidence(quote="nine", start=2), Evidence(quote="ten")),
    )
    parsed = render_page(
        tmp_path, Example(post=Post(id="x", text="The bus at nine"), opinions=(misplaced,))
    )
    assert parsed.attributes_of("mark") == []
    assert "bus is not at 9" in parsed.text("h3")
    assert "nine is not at 2" in parsed.text("quotes")
    assert "ten not in the text" in parsed.text("quotes")


def test_aspect_tone_is_the_agreed_polarity(tmp_path):
    text = "tea cake jam"
    tea, cake, jam = (aspect_at(text, t) for t in text.split())
    opinion_args = [
        ("a", tea, POS),
        ("b", tea, POS),
        ("gold", tea, NEG),
        ("a", cake, POS),
        ("b", cake, NEG),
    ]
    opinions = tuple(opinion(*o) for o in opinion_args)
    post = Post(id="x", text=text, aspects=(tea, cake, jam))
    mark_elements = render_page(tmp_path, Example(post=post, opinions=opinions)).attributes_of(
        "mark"
    )
    assert [m["class"].split()[1] for m in mark_elements] == ["positive", "mixed", "none"]


def test_opinions_are_compared_with_gold(tmp_path):
    parsed = render_page(tmp_path, phone_example())
    assert [a["data-g"] for a in parsed.attributes_of("li") if "data-g" in a] == [
        *("agrees", "agrees", "disagrees", "disagrees")
    ]
    assert [a["class"].split()[-1] for a in parsed.attributes_of("goldchip")] == [
        "positive",
        "negative",
    ]


def test_gold_alone_is_listed_as_opinions(tmp_path):
    gold_example = Example(
        post=Post(id="x", text="Fine."), opinions=(Opinion(annotator="gold", polarity=POS),)
    )
    list_items = [
        a for a in render_page(tmp_path, gold_example).attributes_of("li") if "data-annotator" in a
    ]
    assert [(a["data-annotator"], a["data-g"]) for a in list_items] == [("gold", "")]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_failed_answer_shows_status_and_raw_text(tmp_path, status):
    failed_opinion = Opinion(annotator="a", status=status, raw="well, …")
    parsed = render_page(
        tmp_path, Example(post=Post(id="x", text="Hm."), opinions=(failed_opinion,))
    )
    assert parsed.text("status") == status
    assert "well, …" in parsed.text("pre")


def test_long_raw_answer_is_truncated(tmp_path):
    failed_opinion = Opinion(annotator="a", status=Status.LENGTH, raw="x" * 10_000)
    parsed = render_page(
        tmp_path, Example(post=Post(id="x", text="Hm."), opinions=(failed_opinion,))
    )
    assert len(parsed.text("pre")) == 4000
    assert "6,000 more characters" in parsed.text("details")


def test_post_text_is_rendered_unchanged(tmp_path):
    text = "  Thé 👩‍👩‍👧 é\n\tالشاي <b> &amp; $T$ {{7*7}} <image> \u202eabc  " + "word " * 20_000
    start = text.index("الشاي")
    located_opinion = opinion("a", Aspect(term="الشاي", start=start), POS)
    parsed = render_page(
        tmp_path, Example(post=Post(id="x", text=text), opinions=(located_opinion,))
    )
    assert parsed.text("text") == text
    assert parsed.text("mark") == "الشاي"


def test_missing_opinions_are_stated(tmp_path):
    text = "Tea."
    example = Example(post=Post(id="1", text=text, aspects=(aspect_at(text, "Tea"),)))
    parsed = render_page(tmp_path, example, Example(post=Post(id="2", text="")))
    assert "no opinion about it" in parsed.text("missing")
    assert "no aspect and no opinion" in parsed.text("missing")
    assert "(no text)" in parsed.text("empty")
