"""The CSV reads back to the opinions; the terminal table fits, is plain when piped, and safe."""

import csv
import io
from itertools import count

import pytest
from rich.console import Console

from gen_msa.data import open_examples
from gen_msa.formula_guard import escape_formula
from gen_msa.report import opinion_table, write_csv, write_xlsx
from gen_msa.report.opinion_tables import (
    CSV_COLUMNS,
    MAX_CELL_CHARS,
    MAX_OWN_COLUMNS,
)
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Post
from tests.report.builders import POS, bus_example, opinion, phone_example


def read_rows(path):
    with path.open(encoding="utf-8-sig", newline="") as f:
        return list(csv.DictReader(f))


def render(renderable, *, terminal=False, width=100) -> str:
    out, colours = io.StringIO(), "standard" if terminal else None
    Console(file=out, force_terminal=terminal, width=width, color_system=colours).print(renderable)
    return out.getvalue()


def test_csv_has_one_row_per_opinion_or_empty_post(tmp_path):
    path = tmp_path / "o.csv"
    empty_example = Example(post=Post(id="quiet", text="Nothing."))
    assert write_csv([phone_example(), bus_example(), empty_example], path) == 8
    csv_rows = read_rows(path)
    assert tuple(csv_rows[0]) == CSV_COLUMNS
    assert [r["post"] for r in csv_rows] == ["phone-1"] * 6 + ["bus", "quiet"]
    assert csv_rows[-1]["annotator"] == ""


def test_csv_keeps_opinion_fields(tmp_path):
    write_csv([phone_example()], tmp_path / "o.csv")
    csv_rows = read_rows(tmp_path / "o.csv")
    assert csv_rows[2]["evidence"] == "Lovely screen | dim light"
    assert (csv_rows[2]["aspect"], csv_rows[2]["start"], csv_rows[2]["polarity"]) == (
        "screen",
        "7",
        "positive",
    )
    assert float(csv_rows[2]["probability"]) == float(csv_rows[2]["p_positive"]) == 0.9
    assert csv_rows[3]["provenance"] == "prompt=predict/full@1234"
    assert (csv_rows[5]["polarity"], csv_rows[5]["status"]) == ("", "unparsed")


def test_csv_has_bom_and_keeps_line_breaks(tmp_path):
    path = tmp_path / "o.csv"
    write_csv([Example(post=Post(id="1", text='two\nlines, "quoted" é 😀'))], path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbfpost,")
    assert read_rows(path)[0]["text"] == 'two\nlines, "quoted" é 😀'


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx", " =1", "＝1"])
def test_escape_formula_prefixes_an_apostrophe(cell):
    assert escape_formula(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "a=1", "😀", "1-2", -1.5, None])
def test_escape_formula_keeps_other_cells(cell):
    assert escape_formula(cell) == cell


def test_opinion_table_omits_gold():
    output = render(opinion_table([phone_example(), bus_example()], 20))
    assert output.count("screen") >= 2
    assert "gold" not in output
    assert "It is lovely." in output
    assert "0.90" in output
    assert "? unparsed" in output
    assert "(whole post)" in output


def test_opinion_table_consumes_only_shown_posts():
    consumed = []
    endless = (consumed.append(n) or phone_example(n) for n in count())
    assert "… the first 5 opinions; there are more" in render(opinion_table(endless, 5))
    assert len(consumed) == 2


def test_piped_table_is_plain_text():
    output = render(opinion_table([phone_example()], 20))
    assert "\x1b" not in output
    assert not set(output) & set("─│┃━")
    assert "\x1b[" in render(opinion_table([phone_example()], 20), terminal=True)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_opinion_table_fits_terminal_width(width):
    long_example = Example(
        post=Post(id="x" * 90, text="word " * 5000),
        opinions=(opinion("a", Aspect(term="word", start=2000), POS, explanation="why " * 90),),
    )
    assert (
        max(
            map(
                len,
                render(opinion_table([long_example, phone_example()], 9), width=width).splitlines(),
            )
        )
        <= width
    )


def test_opinion_table_escapes_control_codes_and_markup():
    bad = "[red]x[/red] \x1b[2J\x9b1m \u202e"
    hostile_opinion = Opinion(annotator=bad, aspect=Aspect(term=bad), polarity=POS, explanation=bad)
    out = render(
        opinion_table([Example(post=Post(id=bad, text=bad), opinions=(hostile_opinion,))], 5),
        width=300,
    )
    assert "[red]x[/red] �[2J�1m �" in out
    assert not set("\x1b\x9b\u202e") & set(out)


def own_columns_example(post_id="1"):
    meta = {"brand": "=A", "likes": 3, "status": "sold", "meta": "m", "tags": ["a", {"b": 1}]}
    media = (Media(kind="image", path="a.jpg"), Media(kind="image", path="b, c.jpg"))
    aspect = Aspect(term="tea", start=6)
    opinion = Opinion(
        annotator="me",
        aspect=aspect,
        polarity="positive",
        probs={"negative": 0.25, "neutral": 0.25, "positive": 0.5},
        explanation='- "-Good tea" speaks for it.',
        evidence=(Evidence(quote="-Good tea", start=0), Evidence(quote="a cup", source="cue")),
        provenance={"language": "en", "prompt": "p@1"},
    )
    post = Post(id=post_id, text="-Good tea, 'fine'", media=media, aspects=(aspect,), meta=meta)
    return Example(post=post, opinions=(opinion, opinion.model_copy(update={"annotator": "you"})))


@pytest.mark.parametrize("name", ["o.csv", "o.xlsx"])
def test_table_is_read_back_with_own_columns(tmp_path, name):
    examples = [own_columns_example(), Example(post=Post(id="2", text="'=not a formula"))]
    write = write_csv if name == "o.csv" else write_xlsx
    write(examples, tmp_path / name)
    first, second = open_examples(str(tmp_path / name)).rows()
    meta = {"brand": "=A", "likes": "3", "status": "sold", "meta": "m", "tags": '["a", {"b": 1}]'}
    assert first.post == examples[0].post.model_copy(update={"meta": meta})
    assert first.opinions == examples[0].opinions
    assert second == examples[1]


def test_more_keys_than_columns_stand_as_json_in_the_last_one(tmp_path):
    posts = [Post(id=str(i), text="tea", meta={f"k{i}": i, "brand": "A"}) for i in range(300)]
    write_csv([Example(post=post) for post in posts], tmp_path / "o.csv")
    with (tmp_path / "o.csv").open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file))
    assert len(header) == len(CSV_COLUMNS) + MAX_OWN_COLUMNS + 1
    rows = list(open_examples(str(tmp_path / "o.csv")).rows())
    assert [{k: str(v) for k, v in row.post.meta.items()} for row in rows] == [
        {k: str(v) for k, v in post.meta.items()} for post in posts
    ]


def test_cells_that_a_workbook_cannot_hold_are_counted(tmp_path):
    long_post = Post(id="1", text="x" * (MAX_CELL_CHARS + 1))
    assert write_xlsx([Example(post=long_post)], tmp_path / "o.xlsx") == 1
