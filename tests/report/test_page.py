"""What stands in the page: counts, pictures, marks, gold, and only what the template allows."""

import base64
import hashlib
import re
import weakref

import pytest
from PIL import Image

from gen_msa.report import write_html
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Post, Status
from tests.report.making import NEG, POS, aspect, bus, opinion, page, phone


def test_every_post_has_one_card_and_the_number_is_returned(tmp_path):
    path = tmp_path / "r.html"
    posts = [phone(n) for n in range(7)]
    assert write_html(posts, path, title="t", media_root=tmp_path, facts={}) == 7
    assert path.read_text("utf-8").count("<article") == 7


def test_an_empty_stream_gives_a_page_without_cards(tmp_path):
    seen = page(tmp_path)
    assert seen.of("article") == []
    assert "0 posts, 0 opinions." in seen.text("lead")


def test_over_the_limit_the_page_says_how_many_of_how_many_it_shows(tmp_path):
    seen = page(tmp_path, *map(phone, range(12)), limit=5)
    assert len(seen.of("article")) == 5
    assert "Showing the first 5 of 12 posts" in seen.text("notice")
    assert "12 posts, 72 opinions." in seen.text("lead")


def test_examples_are_streamed_and_not_held(tmp_path):
    held, most = [], []

    def stream():
        for n in range(50):
            example = phone(n)
            held.append(weakref.ref(example))
            most.append(sum(r() is not None for r in held))
            yield example

    write_html(stream(), tmp_path / "r.html", title="t", media_root=tmp_path, facts={})
    assert max(most) <= 3


def test_a_stream_that_breaks_leaves_the_old_report_as_it_was(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("old")

    def broken():
        yield phone()
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        write_html(broken(), path, title="t", media_root=tmp_path, facts={})
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_the_same_examples_give_the_same_bytes(tmp_path):
    for name in ("1.html", "2.html"):
        write_html([phone(), bus()], tmp_path / name, title="t", media_root=tmp_path, facts={})
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()


def test_title_and_facts_stand_in_the_header_in_their_order(tmp_path):
    seen = page(tmp_path, title="Phones & buses", facts={"prompt": "reader/full@12", "seed": "0"})
    assert seen.text("title") == seen.text("h1") == "Phones & buses"
    assert seen.text("facts") == "promptreader/full@12seed0"


def test_the_header_counts_each_reader_and_its_unread_answers(tmp_path):
    said = page(tmp_path, phone()).text("reader")
    assert "a 2 opinions0 negative0 neutral2 positive0 unread (0.0 %) · 1 of 2 agree" in said
    assert "b 2 opinions0 negative0 neutral1 positive1 unread (50.0 %) · 1 of 2 agree" in said


def test_the_policy_allows_this_style_and_this_script_and_data_pictures_only(tmp_path):
    seen = page(tmp_path, bus())
    policy = next(a["content"] for a in seen.of("meta") if "http-equiv" in a)
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(seen.text(kind).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_nothing_is_asked_of_a_network(tmp_path):
    page(tmp_path, phone(), bus())
    code = (tmp_path / "report.html").read_text("utf-8")
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", code) == []
    assert re.findall(r"https?://|@import|url\(|fetch\(|XMLHttp", code) == []


def test_a_picture_that_appears_twice_is_stored_once(tmp_path):
    images = page(tmp_path, bus(), bus()).of("img")
    assert [("data-src" in a, "data-like" in a) for a in images] == [(True, False), (False, True)]
    assert images[0]["id"] == images[1]["data-like"]


def test_a_refused_picture_says_why(tmp_path):
    media = (Media(kind="image", path="missing.png"), Media(kind="audio", path="a.wav"))
    seen = page(tmp_path, Example(post=Post(id="x", text="Hm.", media=media)))
    assert seen.of("img") == []
    assert "No picture. there is no such file; check the media root missing.png" in seen.text()
    assert "audio a.wav" in seen.text("frame")


def test_the_default_thumbnail_is_a_small_jpeg_and_never_leaves_the_root(tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    Image.new("RGB", (900, 600), "teal").save(root / "bus.png")
    outside = Media(kind="image", path="../secret.png")
    seen = page(
        tmp_path, bus(), Example(post=Post(id="x", text="", media=(outside,))), media_root=root,
        draw=None,
    )  # fmt: skip
    data = seen.of("img")[0]["data-src"]
    (tmp_path / "t.jpg").write_bytes(base64.b64decode(data.removeprefix("data:image/jpeg;base64,")))
    assert max(Image.open(tmp_path / "t.jpg").size) <= 320
    assert "No picture." in seen.text("problem")


def test_quotes_lead_to_their_words_and_others_say_where_they_stand(tmp_path):
    seen = page(tmp_path, phone())
    ids = {a["id"] for a in seen.of("mark")}
    links = [a["href"] for a in seen.of("to")]
    assert links
    assert all(link.removeprefix("#") in ids for link in links)
    assert "dim light from the picture" in seen.text("quotes")


def test_a_wrong_offset_marks_nothing_and_is_named(tmp_path):
    wrong = opinion(
        "a",
        Aspect(term="bus", start=9),
        POS,
        evidence=(Evidence(quote="nine", start=2), Evidence(quote="ten")),
    )
    seen = page(tmp_path, Example(post=Post(id="x", text="The bus at nine"), opinions=(wrong,)))
    assert seen.of("mark") == []
    assert "bus is not at 9" in seen.text("h3")
    assert "nine is not at 2" in seen.text("quotes")
    assert "ten not in the text" in seen.text("quotes")


def test_aspects_carry_the_polarity_on_which_readers_agree(tmp_path):
    text = "tea cake jam"
    tea, cake, jam = (aspect(text, t) for t in text.split())
    said = [
        ("a", tea, POS),
        ("b", tea, POS),
        ("gold", tea, NEG),
        ("a", cake, POS),
        ("b", cake, NEG),
    ]
    opinions = tuple(opinion(*o) for o in said)
    post = Post(id="x", text=text, aspects=(tea, cake, jam))
    marks = page(tmp_path, Example(post=post, opinions=opinions)).of("mark")
    assert [m["class"].split()[1] for m in marks] == ["positive", "mixed", "none"]


def test_gold_stands_beside_each_aspect_and_every_reader_is_held_against_it(tmp_path):
    seen = page(tmp_path, phone())
    assert [a["data-g"] for a in seen.of("li") if "data-g" in a] == [
        *("agrees", "agrees", "disagrees", "disagrees")
    ]
    assert [a["class"].split()[-1] for a in seen.of("goldchip")] == ["positive", "negative"]


def test_gold_alone_is_shown_as_what_there_is_to_read(tmp_path):
    only = Example(post=Post(id="x", text="Fine."), opinions=(Opinion(by="gold", polarity=POS),))
    lines = [a for a in page(tmp_path, only).of("li") if "data-by" in a]
    assert [(a["data-by"], a["data-g"]) for a in lines] == [("gold", "")]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_an_answer_that_is_not_plainly_ok_shows_its_status_and_its_raw_words(tmp_path, status):
    odd = Opinion(by="a", status=status, raw="well, …")
    seen = page(tmp_path, Example(post=Post(id="x", text="Hm."), opinions=(odd,)))
    assert seen.text("status") == status
    assert "well, …" in seen.text("pre")


def test_a_very_long_raw_answer_is_cut_and_says_so(tmp_path):
    odd = Opinion(by="a", status=Status.LENGTH, raw="x" * 10_000)
    seen = page(tmp_path, Example(post=Post(id="x", text="Hm."), opinions=(odd,)))
    assert len(seen.text("pre")) == 4000
    assert "6,000 more characters" in seen.text("details")


def test_the_text_of_a_post_is_never_changed(tmp_path):
    text = "  Thé 👩‍👩‍👧 é\n\tالشاي <b> &amp; $T$ {{7*7}} <image> \u202eabc  " + "word " * 20_000
    start = text.index("الشاي")
    said = opinion("a", Aspect(term="الشاي", start=start), POS)
    seen = page(tmp_path, Example(post=Post(id="x", text=text), opinions=(said,)))
    assert seen.text("text") == text
    assert seen.text("mark") == "الشاي"


def test_silence_is_said(tmp_path):
    text = "Tea."
    asked = Example(post=Post(id="1", text=text, aspects=(aspect(text, "Tea"),)))
    seen = page(tmp_path, asked, Example(post=Post(id="2", text="")))
    assert "nothing was said about it" in seen.text("silent")
    assert "no aspect and no opinion" in seen.text("silent")
    assert "(no text)" in seen.text("empty")
