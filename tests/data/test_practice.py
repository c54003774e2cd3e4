"""The packaged practice posts: balanced, well placed, and dev apart from train."""

from collections import Counter

from gen_msa.data import open_examples
from gen_msa.types import Polarity

TRAIN, DEV = (list(open_examples(f"practice:{split}").rows()) for split in ("train", "dev"))


def test_splits_have_108_and_36_posts_with_distinct_ids_and_texts():
    assert (len(TRAIN), len(DEV)) == (108, 36)
    rows = TRAIN + DEV
    assert len({r.post.id for r in rows}) == len({r.post.text for r in rows}) == 144


def test_labels_are_balanced_and_differ_within_a_post():
    for rows in (TRAIN, DEV):
        count = Counter(o.polarity for r in rows for o in r.opinions)
        assert set(count.values()) == {2 * len(rows) // 3}
        assert set(count) == set(Polarity)
        assert all(len({o.polarity for o in r.opinions}) == 2 for r in rows)


def test_every_aspect_stands_where_it_is_placed():
    for row in TRAIN + DEV:
        assert [o.aspect for o in row.opinions] == list(row.post.aspects)
        for aspect in row.post.aspects:
            assert row.post.text[aspect.start :].startswith(aspect.term)


def test_no_clause_of_dev_is_in_train():
    train_text = " ".join(r.post.text for r in TRAIN).lower()
    for row in DEV:
        first = row.post.aspects[1].start
        assert row.post.text[:first].lower() not in train_text
    terms = {a.term for r in TRAIN for a in r.post.aspects}
    assert terms.isdisjoint(a.term for r in DEV for a in r.post.aspects)
