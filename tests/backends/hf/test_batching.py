"""Grouping and batching: every row once, what is called shared is shared, nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.backends.hf import chat_tokens
from gen_msa.backends.hf.chat_tokens import RequestGroup, TokenizedRequest
from gen_msa.chat import ImageInput

IMAGES = [(), (ImageInput(path="/a", sha256="a", max_pixels=1),)]
ROWS = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.sampled_from(IMAGES)),
    max_size=20,
)


def make_row(index, ids, images=()):
    return TokenizedRequest(index, tuple(ids), "", images, None, 1, {})


def make_rows(pairs):
    return [make_row(i, ids, images) for i, (ids, images) in enumerate(pairs)]


@given(ROWS, st.integers(1, 8))
def test_every_row_is_in_exactly_one_batch_within_size(pairs, size):
    rows = make_rows(pairs)
    batches = chat_tokens.batch_groups(chat_tokens.group_requests(rows, 0, size), size)
    assert sorted(r.index for b in batches for g in b for r in g.rows) == list(range(len(rows)))
    assert all(sum(len(g.rows) for g in b) <= size for b in batches)


@given(ROWS)
def test_instruction_prefix_is_shared_and_holds_no_image(pairs):
    rows = make_rows(pairs)
    shared = chat_tokens.instruction_prefix(rows, {2})
    assert all(r.ids[: len(shared)] == shared and len(r.ids) > len(shared) for r in rows)
    assert 2 not in shared


@given(ROWS, st.integers(2, 8))
def test_group_holds_adjacent_rows_with_same_images_and_common_prefix(pairs, size):
    for group in chat_tokens.group_requests(make_rows(pairs), 0, size):
        first = group.rows[0]
        assert [r.index for r in group.rows] == list(
            range(first.index, first.index + len(group.rows))
        )
        assert all(r.images == first.images for r in group.rows)
        assert all(
            chat_tokens.common_prefix_length(first.ids, r.ids) >= chat_tokens.MIN_SHARED_TOKENS
            for r in group.rows[1:]
        )


def test_aspects_of_two_posts_form_two_groups():
    post_a, post_b = list(range(100, 120)), list(range(200, 220))
    rows = make_rows([([1, 2, *post, i], ()) for post in (post_a, post_b) for i in (7, 8, 9)])
    assert chat_tokens.instruction_prefix(rows, set()) == (1, 2)
    assert [len(g.rows) for g in chat_tokens.group_requests(rows, 2, 16)] == [3, 3]


def test_batches_are_sorted_by_length_descending():
    lengths = [[5], [40], [20]]
    batches = chat_tokens.batch_groups(
        [RequestGroup((make_row(i, range(n[0])),)) for i, n in enumerate(lengths)], 1
    )
    assert [b[0].length for b in batches] == [40, 20, 5]
