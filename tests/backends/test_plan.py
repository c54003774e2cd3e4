"""Grouping and batching: every row once, what is called shared is shared, nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.backends.local import plan
from gen_msa.backends.local.plan import Group, Row
from gen_msa.chat import Picture

PICTURES = [(), (Picture(path="/a", sha256="a", max_pixels=1),)]
ROWS = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.sampled_from(PICTURES)),
    max_size=20,
)


def row(index, ids, pictures=()):
    return Row(index, tuple(ids), "", pictures, None, 1, {})


def made(pairs):
    return [row(i, ids, pictures) for i, (ids, pictures) in enumerate(pairs)]


@given(ROWS, st.integers(1, 8))
def test_every_row_is_in_exactly_one_batch_and_no_batch_is_too_big(pairs, size):
    rows = made(pairs)
    found = plan.batches(plan.groups(rows, 0, size), size)
    assert sorted(r.index for b in found for g in b for r in g.rows) == list(range(len(rows)))
    assert all(sum(len(g.rows) for g in b) <= size for b in found)


@given(ROWS)
def test_the_instruction_begins_every_row_holds_no_picture_and_is_never_a_whole_row(pairs):
    rows = made(pairs)
    shared = plan.instruction(rows, {2})
    assert all(r.ids[: len(shared)] == shared and len(r.ids) > len(shared) for r in rows)
    assert 2 not in shared


@given(ROWS, st.integers(2, 8))
def test_rows_of_a_group_are_neighbours_with_the_same_pictures_and_a_common_beginning(pairs, size):
    for group in plan.groups(made(pairs), 0, size):
        first = group.rows[0]
        assert [r.index for r in group.rows] == list(
            range(first.index, first.index + len(group.rows))
        )
        assert all(r.pictures == first.pictures for r in group.rows)
        assert all(plan.common(first.ids, r.ids) >= plan.MIN_GAIN for r in group.rows[1:])


def test_the_aspects_of_two_posts_make_two_groups():
    post_a, post_b = list(range(100, 120)), list(range(200, 220))
    rows = made([([1, 2, *post, i], ()) for post in (post_a, post_b) for i in (7, 8, 9)])
    assert plan.instruction(rows, set()) == (1, 2)
    assert [len(g.rows) for g in plan.groups(rows, 2, 16)] == [3, 3]


def test_batches_go_from_long_to_short():
    lengths = [[5], [40], [20]]
    found = plan.batches([Group((row(i, range(n[0])),)) for i, n in enumerate(lengths)], 1)
    assert [b[0].length for b in found] == [40, 20, 5]
