"""The shipped corpus: its words, places, pictures and balance."""

import re
from collections import Counter

import PIL
import pytest
from PIL import Image, ImageChops, ImageStat

from gen_msa import media
from gen_msa.data import open_source
from gen_msa.types import Example, Polarity
from tests.fixtures.tiny.make import draw, examples, make

SOURCE = open_source("tiny")
ROWS = [row for row in SOURCE.rows() if isinstance(row, Example)]
PICTURES = [m for r in ROWS for m in r.post.media]
OPINIONS = [(r, o) for r in ROWS for o in r.opinions]


def test_forty_posts_can_all_be_read_and_have_their_own_ids_and_words():
    assert len(list(SOURCE.rows())) == len(ROWS) == 40
    assert len({r.post.id for r in ROWS}) == len({r.post.text for r in ROWS}) == 40


def test_at_least_eighteen_posts_hold_opposite_opinions():
    both = {Polarity.POSITIVE, Polarity.NEGATIVE}
    assert sum(both <= {o.polarity for o in r.opinions} for r in ROWS) >= 18


def test_no_polarity_is_rare():
    count = Counter(o.polarity for _, o in OPINIONS)
    assert min(count[p] for p in Polarity) >= 0.15 * len(OPINIONS)


def test_the_opinions_are_about_the_aspects_of_the_post():
    for row in ROWS:
        assert tuple(o.aspect for o in row.opinions if o.aspect.term) == row.post.aspects
        assert {o.by for o in row.opinions} == {"gold"}


def test_every_quote_stands_where_its_evidence_says_and_verbatim_in_the_reason():
    for row, o in OPINIONS:
        words = [e for e in o.evidence if e.source == "text"]
        assert words
        for e in words:
            assert row.post.text[e.start : e.start + len(e.quote)] == e.quote
            assert f'"{e.quote}"' in o.explanation


def test_what_the_picture_says_stands_in_its_caption():
    seen = [(r, e) for r, o in OPINIONS for e in o.evidence if e.source == "picture"]
    assert len(seen) >= 15
    assert all(e.start is None and e.quote in r.post.meta["caption"] for r, e in seen)


def test_each_reason_is_one_sentence_that_names_the_aspect():
    for _, o in OPINIONS:
        assert (o.aspect.term or "post as a whole") in o.explanation
        assert re.search(r'[.]"?$', o.explanation)
        assert not re.search(r"[.!?] [A-Z]", re.sub(r'"[^"]*"', "", o.explanation))


@pytest.mark.parametrize("m", PICTURES, ids=lambda m: m.path)
def test_every_picture_is_admitted_and_named_by_caption_and_objects(m):
    picture = media.admit(m, SOURCE.media_root, media.PictureLimits())
    assert media.load(picture).size == (320, 240)
    (row,) = (r for r in ROWS if m in r.post.media)
    assert row.post.meta["caption"]
    assert row.post.meta["objects"]


def test_the_pictures_are_small_and_none_is_left_over():
    files = list((SOURCE.media_root / "pictures").iterdir())
    assert len(files) == len(PICTURES) == 39
    assert sum(f.stat().st_size for f in files) < 400_000


def test_the_words_are_what_the_maker_makes():
    assert tuple(ROWS) == tuple(examples())


def test_the_pictures_are_what_the_maker_draws():
    for m in PICTURES:
        shipped = Image.open(SOURCE.media_root / m.path).convert("RGB")
        off = ImageStat.Stat(ImageChops.difference(shipped, draw(m.path.rpartition("/")[2]))).mean
        assert max(off) < 8, (m.path, PIL.__version__)


def test_the_maker_gives_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name)
    first = {f.name: f.read_bytes() for f in (tmp_path / "a").rglob("*.*")}
    assert first == {f.name: f.read_bytes() for f in (tmp_path / "b").rglob("*.*")}
    assert len(first) == 40


def test_it_holds_the_hard_cases():
    posts = [r.post for r in ROWS]
    assert sum(not p.media for p in posts) == 1
    assert sum(not p.aspects for p in posts) == 2
    assert sum(len({a.term for a in p.aspects}) < len(p.aspects) for p in posts) == 2
    assert {p.meta["language"] for p in posts} == {"en", "de", "ar", "zh", "es", "fr"}
    assert sum("ocr" in p.meta for p in posts) >= 5
    assert any("#" in p.text for p in posts)


def test_nobody_and_no_brand_is_named():
    """Capitals inside a sentence mark names; the few that stand there are common words."""
    inner = re.compile(r"(?<=[a-z,;] )[A-Z]\w+")
    found = {w for r in ROWS if r.post.meta["language"] == "en" for w in inner.findall(r.post.text)}
    assert found == {"Monday", "May", "Tuesday", "Friday", "Sunday"} & found
    assert not any("@" in r.post.text for r in ROWS)
