"""Test the packaged data set: words, offsets, images and balance."""

import re
from collections import Counter

import PIL
import pytest
from PIL import Image, ImageChops, ImageStat

from gen_msa import media
from gen_msa.data import open_examples
from gen_msa.types import Example, Polarity
from tests.fixtures.tiny.generate import draw_image, examples, write_corpus

SOURCE = open_examples("tiny")
ROWS = [row for row in SOURCE.rows() if isinstance(row, Example)]
IMAGES = [m for r in ROWS for m in r.post.media]
OPINIONS = [(r, o) for r in ROWS for o in r.opinions]


def test_forty_posts_have_distinct_ids_and_texts():
    assert len(list(SOURCE.rows())) == len(ROWS) == 40
    assert len({r.post.id for r in ROWS}) == len({r.post.text for r in ROWS}) == 40


def test_at_least_18_posts_hold_opposite_opinions():
    opposites = {Polarity.POSITIVE, Polarity.NEGATIVE}
    assert sum(opposites <= {o.polarity for o in r.opinions} for r in ROWS) >= 18


def test_no_polarity_is_rare():
    count = Counter(o.polarity for _, o in OPINIONS)
    assert min(count[p] for p in Polarity) >= 0.15 * len(OPINIONS)


def test_opinions_cover_the_aspects_of_the_post():
    for row in ROWS:
        assert tuple(o.aspect for o in row.opinions if o.aspect.term) == row.post.aspects
        assert {o.annotator for o in row.opinions} == {"gold"}


def test_text_quotes_have_true_offsets_and_appear_in_explanation():
    for row, o in OPINIONS:
        text_evidence = [e for e in o.evidence if e.source == "text"]
        assert text_evidence
        for e in text_evidence:
            assert row.post.text[e.start : e.start + len(e.quote)] == e.quote
            assert f'"{e.quote}"' in o.explanation


def test_image_evidence_is_in_caption():
    image_evidence = [(r, e) for r, o in OPINIONS for e in o.evidence if e.source == "image"]
    assert len(image_evidence) >= 15
    assert all(e.start is None and e.quote in r.post.meta["caption"] for r, e in image_evidence)


def test_explanation_is_one_sentence_naming_the_aspect():
    for _, o in OPINIONS:
        assert (o.aspect.term or "post as a whole") in o.explanation
        assert re.search(r'[.]"?$', o.explanation)
        assert not re.search(r"[.!?] [A-Z]", re.sub(r'"[^"]*"', "", o.explanation))


@pytest.mark.parametrize("m", IMAGES, ids=lambda m: m.path)
def test_image_is_admitted_and_has_caption_and_objects(m):
    image = media.open_image(m, SOURCE.media_root, media.ImageLimits())
    assert media.load_image(image).size == (320, 240)
    (row,) = (r for r in ROWS if m in r.post.media)
    assert row.post.meta["caption"]
    assert row.post.meta["objects"]


def test_images_are_small_and_all_used():
    files = list((SOURCE.media_root / "images").iterdir())
    assert len(files) == len(IMAGES) == 39
    assert sum(f.stat().st_size for f in files) < 400_000


def test_packaged_rows_match_generator():
    assert tuple(ROWS) == tuple(examples())


def test_packaged_images_match_generator():
    for m in IMAGES:
        packaged = Image.open(SOURCE.media_root / m.path).convert("RGB")
        mean_difference = ImageStat.Stat(
            ImageChops.difference(packaged, draw_image(m.path.rpartition("/")[2]))
        ).mean
        assert max(mean_difference) < 8, (m.path, PIL.__version__)


def test_generator_is_deterministic(tmp_path):
    for name in ("a", "b"):
        write_corpus(tmp_path / name)
    first = {f.name: f.read_bytes() for f in (tmp_path / "a").rglob("*.*")}
    assert first == {f.name: f.read_bytes() for f in (tmp_path / "b").rglob("*.*")}
    assert len(first) == 40


def test_corpus_holds_hard_cases():
    posts = [r.post for r in ROWS]
    assert sum(not p.media for p in posts) == 1
    assert sum(not p.aspects for p in posts) == 2
    assert sum(len({a.term for a in p.aspects}) < len(p.aspects) for p in posts) == 2
    assert {p.meta["language"] for p in posts} == {"en", "de", "ar", "zh", "es", "fr"}
    assert sum("ocr" in p.meta for p in posts) >= 5
    assert any("#" in p.text for p in posts)


def test_corpus_names_no_person_or_brand():
    """Check that capitalized words inside a sentence are common words, not names."""
    inner = re.compile(r"(?<=[a-z,;] )[A-Z]\w+")
    capitalized = {
        w for r in ROWS if r.post.meta["language"] == "en" for w in inner.findall(r.post.text)
    }
    assert capitalized == {"Monday", "May", "Tuesday", "Friday", "Sunday"} & capitalized
    assert not any("@" in r.post.text for r in ROWS)
