"""Test that formats read back equal what they write, and name fields that they cannot store."""

import re
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen_msa.data.formats import format_of, formats
from gen_msa.errors import UserError
from gen_msa.jsonl import MAX_LINE_BYTES
from gen_msa.types import Evidence, Example, Opinion, Polarity, Post
from tests.data.builders import HARD_TEXTS, examples, hard_examples, plain_example

QUICK = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SUFFIX = {"csv": ".csv", "parquet": ".parquet", "semeval_xml": ".xml", "jsonl": ".jsonl"}


def round_trip(name: str, originals: list[Example], suffix: str = "") -> list[object]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"posts{suffix or SUFFIX.get(name, '.json')}"
        formats[name].write(path, originals)
        assert [p.name for p in Path(folder).iterdir()] == [path.name]
        return list(formats[name].read(path))


def has_distinct_ids(batch: list[Example]) -> bool:
    ids = [e.post.id for e in batch]
    return len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["jsonl", "parquet", "messages", "csv"])
def test_hard_posts_round_trip(name: str) -> None:
    assert round_trip(name, hard_examples()) == hard_examples()


def test_hard_posts_round_trip_as_tsv() -> None:
    assert round_trip("csv", hard_examples(), ".tsv") == hard_examples()


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
@QUICK
@given(st.lists(examples(), max_size=4))
def test_any_example_round_trips(name: str, originals: list[Example]) -> None:
    assert round_trip(name, originals) == originals


@pytest.mark.parametrize("name", ["csv", "messages"])
@QUICK
@given(st.lists(examples(all_fields=False), max_size=4).filter(has_distinct_ids))
def test_example_without_parse_or_audio_round_trips(name: str, originals: list[Example]) -> None:
    assert round_trip(name, originals) == originals


@pytest.mark.parametrize("name", formats.names())
@QUICK
@given(st.lists(examples(), max_size=3))
def test_format_round_trips_or_names_unsupported_field(name: str, originals: list[Example]) -> None:
    problem = ""
    try:
        assert round_trip(name, originals) == originals
    except UserError as e:
        problem = e.problem
    assert re.match(rf"({name} cannot store (post|opinions|a field|a value)|\Z)", problem)


@pytest.mark.parametrize(
    "name",
    ["csv", "joint_json", "jsonl", "llava", "messages", "parquet", "sharegpt", "tombert_tsv"],
)
def test_plain_post_with_image_and_two_labels_round_trips(name: str) -> None:
    originals = [
        plain_example(),
        plain_example("tea-2", "good tea , bad cake !"),
        plain_example("other"),
    ]
    assert round_trip(name, originals) == originals


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
def test_text_only_post_is_refused_with_field_name(name: str, field: str) -> None:
    with pytest.raises(UserError, match=rf"{name} cannot store {field} of post 'hard 0'"):
        round_trip(name, hard_examples()[:1])


LABEL = plain_example().opinions[0]
UNSUPPORTED: dict[str, Example] = {
    "post.meta": Example(post=plain_example().post.model_copy(update={"meta": {"k": 1}})),
    "opinions.explanation": Example(
        post=plain_example().post, opinions=(LABEL.model_copy(update={"explanation": "hot"}),)
    ),
    "opinions": plain_example().with_opinions(LABEL),
}


@pytest.mark.parametrize("field", UNSUPPORTED)
def test_first_unsupported_field_is_named(field: str) -> None:
    remaining = plain_example().opinions[len(UNSUPPORTED[field].opinions) :]
    with pytest.raises(UserError, match=rf"tombert_tsv cannot store {re.escape(field)} of post"):
        round_trip("tombert_tsv", [UNSUPPORTED[field].with_opinions(*remaining)])


@pytest.mark.parametrize("name", ["jsonl", "csv", "meld_csv", "messages"])
def test_post_over_line_limit_is_not_written(name: str) -> None:
    post = Post(id="long", text="x" * MAX_LINE_BYTES)
    example = Example(post=post, opinions=(Opinion(annotator="gold", polarity=Polarity.NEUTRAL),))
    with pytest.raises(UserError, match=rf"{name} cannot store .*long"):
        round_trip(name, [example])


@pytest.mark.parametrize(
    ("name", "opinion", "field"),
    [
        ("csv", Opinion(annotator="gold", raw=""), "opinions.raw"),
        (
            "jsonl",
            Opinion(annotator="gold").model_copy(update={"score": float("inf")}),
            "opinions.score",
        ),
        (
            "parquet",
            Opinion(annotator="gold", evidence=(Evidence(quote="a", start=2**70),)),
            "a value",
        ),
    ],
)
def test_unsupported_value_is_named(name: str, opinion: Opinion, field: str) -> None:
    with pytest.raises(UserError, match=rf"{name} cannot store {re.escape(field)} "):
        round_trip(name, [Example(post=Post(id="1", text="tea"), opinions=(opinion,))])


@pytest.mark.parametrize("name", ["llava", "sharegpt"])
def test_literal_placeholder_is_refused_by_placeholder_formats(name: str) -> None:
    with pytest.raises(UserError, match=r"cannot store post.text .*<image> would be read"):
        round_trip(name, hard_examples()[:1])
    others = [e for e in hard_examples() if e.post.text != HARD_TEXTS["placeholder"]]
    assert round_trip(name, others) == others


def test_adjacent_posts_with_same_id_are_refused() -> None:
    with pytest.raises(UserError, match=r"csv cannot store post\.id"):
        round_trip("csv", [plain_example(), plain_example()])


def test_existing_file_survives_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("old")
    with pytest.raises(UserError):
        formats["csv"].write(path, [plain_example(), plain_example()])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", formats.names())
def test_format_has_description_and_reads_own_empty_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"none{SUFFIX.get(name, '.json')}"
    formats[name].write(path, [])
    assert list(formats[name].read(path)) == []
    assert formats[name].about.endswith(".")


def test_suffixes_are_unique_and_unknown_suffix_raises() -> None:
    suffixes = [s for n in formats.names() for s in formats[n].suffixes]
    assert sorted(suffixes) == sorted(set(suffixes))
    assert format_of(Path("a.tsv")) is formats["csv"]
    with pytest.raises(UserError, match="cannot tell the format"):
        format_of(Path("a.docx"))


@pytest.mark.parametrize(
    "name", ["csv", "joint_json", "jsonl", "llava", "messages", "sharegpt", "tombert_tsv"]
)
def test_reading_and_writing_stream_in_bounded_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "posts.json"
    tracemalloc.start()
    try:
        formats[name].write(
            path, (plain_example(f"t-{i}", f"good tea , bad cake {i}") for i in range(500))
        )
        assert sum(1 for _ in formats[name].read(path)) == 500
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()
