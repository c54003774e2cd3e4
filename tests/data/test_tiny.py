"""The shipped corpus: its words, places, pictures and balance."""

from collections import Counter

import pytest

from gen_msa import media
from gen_msa.data import open_source
from gen_msa.types import Example, Polarity
from tests.fixtures.tiny.make import make

SOURCE = open_source("tiny")
ROWS = [row for row in SOURCE.rows() if isinstance(row, Example)]


def test_forty_posts_can_all_be_read():
    assert len(list(SOURCE.rows())) == len(ROWS) == 40
    assert len({r.post.id for r in ROWS}) == 40


def test_at_least_eighteen_posts_hold_opposite_opinions():
    both = {Polarity.POSITIVE, Polarity.NEGATIVE}
    assert sum(both <= {o.polarity for o in r.opinions} for r in ROWS) >= 18


def test_no_polarity_is_rare():
    count = Counter(o.polarity for r in ROWS for o in r.opinions)
    assert min(count[p] for p in Polarity) >= 9


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.post.id)
def test_reasons_name_the_aspect_and_quote_the_post(row):
    assert {o.aspect for o in row.opinions if o.aspect.term} == set(row.post.aspects)
    for o in row.opinions:
        (evidence,) = o.evidence
        assert o.aspect.term in o.explanation
        assert f'"{evidence.quote}"' in o.explanation
        assert row.post.text[evidence.start :].startswith(evidence.quote)


def test_every_picture_is_admitted_and_all_are_small():
    pictures = [m for r in ROWS for m in r.post.media]
    assert len(pictures) >= 36
    sizes = [(SOURCE.media_root / m.path).stat().st_size for m in pictures]
    assert sum(sizes) < 400_000
    for m in pictures:
        assert media.load(media.admit(m, SOURCE.media_root, media.PictureLimits())).size == (
            288,
            216,
        )


def test_the_corpus_is_what_its_maker_makes(tmp_path):
    make(tmp_path)
    shipped = (SOURCE.media_root / "posts.jsonl").read_bytes()
    assert (tmp_path / "posts.jsonl").read_bytes() == shipped


def test_it_holds_the_hard_cases():
    texts = [r.post.text for r in ROWS]
    assert any(not r.post.media for r in ROWS)
    assert any(not r.post.aspects for r in ROWS)
    assert any(len({a.term for a in r.post.aspects}) < len(r.post.aspects) for r in ROWS)
    assert any("\u0600" <= c <= "\u06ff" for t in texts for c in t)
    assert any("\u4e00" <= c <= "\u9fff" for t in texts for c in t)
