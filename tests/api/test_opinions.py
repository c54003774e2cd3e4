"""Opinions become tables, files and pages without loss."""

import pandas
import pytest

import gen_msa as gm
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Evidence, Example, Opinion, Polarity, Post


def example(i: int, polarity: Polarity | None, brand: str) -> Example:
    aspect = Aspect(term="food", start=0)
    post = Post(id=str(i), text="food =1+1", aspects=(aspect,), meta={"brand": brand, "text": "t"})
    probs = None if polarity is None else {p: float(p is polarity) for p in Polarity}
    evidence = (Evidence(quote="food", start=0),)
    by_model = Opinion(
        annotator="m", aspect=aspect, polarity=polarity, probs=probs, evidence=evidence
    )
    gold = Opinion(annotator="gold", aspect=aspect, polarity=Polarity.POSITIVE)
    return Example(post=post, opinions=(gold, by_model))


@pytest.fixture
def opinions() -> gm.Opinions:
    labels = [*[Polarity.POSITIVE] * 3, Polarity.NEGATIVE, None, Polarity.NEUTRAL]
    examples = [example(i, p, "AB"[i // 5]) for i, p in enumerate(labels)]
    return gm.Opinions(examples, annotators=["m"], name="posts")


def test_sequence_holds_the_opinions_of_the_model(opinions):
    assert len(opinions) == 6
    assert opinions[0].annotator == opinions[-1].annotator == "m"
    assert [o.polarity for o in opinions[1:3]] == [Polarity.POSITIVE] * 2
    assert repr(opinions) == "<Opinions: 6 about 6 posts, 1 unparsed>"


def test_to_pandas_has_columns_of_the_csv_and_of_the_posts(opinions):
    frame = opinions.to_pandas()

    assert frame["polarity"].tolist()[:4] == ["positive"] * 3 + ["negative"]
    assert type(frame["polarity"][0]) is str
    assert frame["brand"].tolist() == ["A"] * 5 + ["B"]
    # A column of the post's own never hides one of ours.
    assert frame["text"][0] == "food =1+1"
    assert frame["meta.text"][0] == "t"
    assert frame["p_positive"][0] == 1.0


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_written_files_read_back_equal(opinions, tmp_path, suffix):
    path = getattr(opinions, f"to_{suffix}")(tmp_path / f"o.{suffix}")

    assert gm.Opinions.read(path).examples == opinions.examples
    assert len(gm.Opinions.read(path, annotator="gold")) == 6


def test_to_csv_and_to_html_write_what_the_command_line_writes(opinions, tmp_path):
    csv = opinions.to_csv(tmp_path / "o.csv").read_text("utf-8-sig")
    page = opinions.to_html(tmp_path / "o.html", title="My posts").read_text("utf-8")

    assert csv.splitlines()[0].startswith("post,text,aspect,start,annotator,polarity")
    assert csv.count("\n") == 13
    assert "My posts" in page
    assert "http-equiv" in page


def test_to_excel_writes_formulas_as_text(opinions, tmp_path):
    import zipfile

    path = opinions.to_excel(tmp_path / "o.xlsx")

    with zipfile.ZipFile(path) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "food =1+1" in sheet


def test_summary_counts_shares_and_intervals_by_column(opinions):
    table = opinions.summary(by=["brand"])

    a, b = table.to_dict("records")
    assert (a["brand"], a["posts"], a["opinions"], a["unparsed"]) == ("A", 5, 5, 1)
    assert (a["positive"], a["negative"]) == (0.75, 0.25)
    assert 0.30 < a["positive_low"] < 0.31
    assert 0.95 < a["positive_high"] < 0.96
    assert (b["brand"], b["opinions"], b["neutral"]) == ("B", 1, 1.0)
    assert opinions.summary(by="aspect")["opinions"].tolist() == [6]


def test_summary_names_a_missing_column(opinions):
    with pytest.raises(UserError, match="no column 'brnd'") as e:
        opinions.summary(by="brnd")

    assert "did you mean 'brand'" in e.value.hint


def test_notebook_shows_a_table_with_escaped_text():
    examples = [Example(post=Post(id="1", text="<b>x</b>"), opinions=(Opinion(annotator="m"),))]
    html = gm.Opinions(examples)._repr_html_()

    assert "<table" in html
    assert "<b>x</b>" not in html


def test_summary_of_no_opinions_is_an_empty_table():
    table = gm.Opinions([]).summary()

    assert isinstance(table, pandas.DataFrame)
    assert table.empty
