"""What a format writes it reads back equal; what it has no room for is an error with a name."""

import re
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen_msa.data.formats import format_of, formats
from gen_msa.errors import UserError
from gen_msa.jsonl import MAX_LINE
from gen_msa.types import Evidence, Example, Opinion, Polarity, Post
from tests.data.making import HARD_TEXTS, examples, hard, plain

FAST = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SUFFIX = {"csv": ".csv", "parquet": ".parquet", "semeval_xml": ".xml", "jsonl": ".jsonl"}


def trip(name: str, given: list[Example], suffix: str = "") -> list[object]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"posts{suffix or SUFFIX.get(name, '.json')}"
        formats[name].write(path, given)
        assert [p.name for p in Path(folder).iterdir()] == [path.name]
        return list(formats[name].read(path))


def distinct(found: list[Example]) -> bool:
    ids = [e.post.id for e in found]
    return len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["jsonl", "parquet", "messages", "csv"])
def test_hard_posts_pass_unchanged(name: str) -> None:
    assert trip(name, hard()) == hard()


def test_hard_posts_pass_unchanged_through_tabs() -> None:
    assert trip("csv", hard(), ".tsv") == hard()


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
@FAST
@given(st.lists(examples(), max_size=4))
def test_any_example_is_read_back_equal(name: str, found: list[Example]) -> None:
    assert trip(name, found) == found


@pytest.mark.parametrize("name", ["csv", "messages"])
@FAST
@given(st.lists(examples(everything=False), max_size=4).filter(distinct))
def test_any_example_without_parse_or_sound_is_read_back_equal(
    name: str, found: list[Example]
) -> None:
    assert trip(name, found) == found


@pytest.mark.parametrize("name", formats.names())
@FAST
@given(st.lists(examples(), max_size=3))
def test_a_format_keeps_an_example_whole_or_names_what_it_cannot_keep(
    name: str, found: list[Example]
) -> None:
    refused = ""
    try:
        assert trip(name, found) == found
    except UserError as e:
        refused = e.problem
    assert re.match(rf"({name} has no room for (post|opinions|a field|a value)|\Z)", refused)


@pytest.mark.parametrize(
    "name",
    ["csv", "joint_json", "jsonl", "llava", "messages", "parquet", "sharegpt", "tombert_tsv"],
)
def test_a_plain_post_with_a_picture_and_two_labelled_aspects_fits(name: str) -> None:
    found = [plain(), plain("tea-2", "good tea , bad cake !"), plain("other")]
    assert trip(name, found) == found


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("tombert_tsv", "post.media"),
        ("tombert_txt", "post.media"),
        ("joint_json", "post.media"),
        ("stanza_json", "post.parse"),
        ("meld_csv", "opinions"),
    ],
)
def test_a_post_of_text_alone_is_refused_by_the_field_it_lacks(name: str, field: str) -> None:
    with pytest.raises(UserError, match=rf"{name} has no room for {field} of post 'hard 0'"):
        trip(name, hard()[:1])


LABEL = plain().opinions[0]
CHANGES: dict[str, Example] = {
    "post.meta": Example(post=plain().post.model_copy(update={"meta": {"k": 1}})),
    "opinions.explanation": Example(
        post=plain().post, opinions=(LABEL.model_copy(update={"explanation": "hot"}),)
    ),
    "opinions": plain().adding(LABEL),
}


@pytest.mark.parametrize("field", CHANGES)
def test_the_first_field_that_would_be_lost_is_named(field: str) -> None:
    rest = plain().opinions[len(CHANGES[field].opinions) :]
    with pytest.raises(UserError, match=rf"tombert_tsv has no room for {re.escape(field)} of post"):
        trip("tombert_tsv", [CHANGES[field].adding(*rest)])


@pytest.mark.parametrize("name", ["jsonl", "csv", "meld_csv", "messages"])
def test_a_post_too_long_to_be_read_again_is_not_written(name: str) -> None:
    post = Post(id="long", text="x" * MAX_LINE)
    found = Example(post=post, opinions=(Opinion(by="gold", polarity=Polarity.NEUTRAL),))
    with pytest.raises(UserError, match=rf"{name} has no room for .*long"):
        trip(name, [found])


@pytest.mark.parametrize(
    ("name", "opinion", "field"),
    [
        ("csv", Opinion(by="gold", raw=""), "opinions.raw"),
        ("jsonl", Opinion(by="gold", score=float("inf")), "opinions.score"),
        ("parquet", Opinion(by="gold", evidence=(Evidence(quote="a", start=2**70),)), "a value"),
    ],
)
def test_a_value_without_room_is_named(name: str, opinion: Opinion, field: str) -> None:
    with pytest.raises(UserError, match=rf"{name} has no room for {re.escape(field)} "):
        trip(name, [Example(post=Post(id="1", text="tea"), opinions=(opinion,))])


@pytest.mark.parametrize("name", ["llava", "sharegpt"])
def test_a_literal_placeholder_is_refused_where_text_holds_placeholders(name: str) -> None:
    with pytest.raises(UserError, match=r"has no room for post.text .*<image> would be read"):
        trip(name, hard()[:1])
    rest = [e for e in hard() if e.post.text != HARD_TEXTS["placeholder"]]
    assert trip(name, rest) == rest


def test_two_neighbours_with_one_id_are_not_joined_silently() -> None:
    with pytest.raises(UserError, match=r"csv has no room for post\.id"):
        trip("csv", [plain(), plain()])


def test_the_file_that_stood_there_survives_an_example_without_room(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("old")
    with pytest.raises(UserError):
        formats["csv"].write(path, [plain(), plain()])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", formats.names())
def test_a_format_says_what_it_is_and_writes_an_empty_file_it_can_read(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / f"none{SUFFIX.get(name, '.json')}"
    formats[name].write(path, [])
    assert list(formats[name].read(path)) == []
    assert formats[name].about.endswith(".")


def test_suffixes_name_one_format_each_and_others_must_be_said() -> None:
    named = [s for n in formats.names() for s in formats[n].suffixes]
    assert sorted(named) == sorted(set(named))
    assert format_of(Path("a.tsv")) is formats["csv"]
    with pytest.raises(UserError, match="cannot tell the format"):
        format_of(Path("a.json"))


@pytest.mark.parametrize(
    "name", ["csv", "joint_json", "jsonl", "llava", "messages", "sharegpt", "tombert_tsv"]
)
def test_reading_and_writing_hold_a_few_posts_at_a_time(name: str, tmp_path: Path) -> None:
    path = tmp_path / "posts.json"
    tracemalloc.start()
    try:
        formats[name].write(path, (plain(f"t-{i}", f"good tea , bad cake {i}") for i in range(500)))
        assert sum(1 for _ in formats[name].read(path)) == 500
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()
