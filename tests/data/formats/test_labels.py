"""Spellings of labels: those known everywhere, numbers that are not, and a user's own."""

import json
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gen_msa.api.posts import read_posts
from gen_msa.data import open_examples
from gen_msa.data.formats.labels import SPELLINGS, parse_polarity
from gen_msa.errors import InputWarning, UserError
from gen_msa.types import Aspect, Example, Polarity, Rejected

CODES = {"0": Polarity.NEGATIVE, "1": Polarity.NEUTRAL, "2": Polarity.POSITIVE}
OWN = {"Bof": Polarity.NEUTRAL, "1": Polarity.POSITIVE}


def gold(rows: list[Example | Rejected]) -> list[Polarity | None]:
    return [o.polarity for r in rows if isinstance(r, Example) for o in r.opinions]


@pytest.mark.parametrize(
    ("label", "polarity"),
    [
        *(("POS", "positive"), ("Neg", "negative"), (" NEU ", "neutral"), ("-1", "negative")),
        *(("+1", "positive"), ("−1", "negative"), ("-1.0", "negative"), ("正面", "positive")),
        *(
            ("负面", "negative"),
            ("中性", "neutral"),
            ("POSITIF", "positive"),
            ("Ｐｏｓ", "positive"),
        ),
        *(("0", None), ("1", None), ("2", None), ("mixed", None), ("", None), ("P", None)),
    ],
)
def test_common_spellings_are_known_and_ambiguous_ones_are_not(
    label: str, polarity: str | None
) -> None:
    assert parse_polarity(label) == polarity


def test_no_spelling_has_two_meanings() -> None:
    spellings = [s for group in SPELLINGS.values() for s in group]
    assert len(set(spellings)) == len(spellings)


FORMS = {
    "m.csv": "text,aspect,polarity\ngood tea,tea,{}\n",
    "m.tsv": "text\tpolarity\ngood tea\t{}\n",
    "flat.jsonl": '{{"text": "good tea", "aspect": "tea", "label": {}}}\n',
    "nested.jsonl": '{{"text": "good tea", "aspects": [{{"term": "tea", "polarity": {}}}]}}\n',
    "whole.jsonl": '{{"text": "good tea", "polarity": {}}}\n',
    "array.json": '[{{"text": "good tea", "polarity": {}}}]\n',
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("label", ["0", "1", "2"])
def test_bare_number_is_rejected_with_a_hint_and_read_with_a_map(
    name: str, label: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(FORMS[name].format(label), "utf-8")
    (row,) = open_examples(str(path)).rows()
    assert isinstance(row, Rejected), row
    assert f"--label-map {label}=" in row.reason

    mapped = list(open_examples(str(path), label_map={label: CODES[label]}).rows())
    assert gold(mapped) == [CODES[label]]


@pytest.mark.parametrize("name", FORMS)
def test_own_spelling_is_read_in_any_case(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    label = '"BOF"' if "json" in name else "BOF"
    path.write_text(FORMS[name].format(label), "utf-8")
    assert gold(list(open_examples(str(path), label_map={"bof": OWN["Bof"]}).rows())) == ["neutral"]


@pytest.mark.parametrize("name", FORMS)
def test_unambiguous_number_needs_no_map(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FORMS[name].format("-1"), "utf-8")
    assert gold(list(open_examples(str(path)).rows())) == ["negative"]


def test_map_outranks_a_known_spelling(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("text,polarity\na,pos\n")
    rows = list(open_examples(str(path), label_map={"POS": Polarity.NEGATIVE}).rows())
    assert gold(rows) == ["negative"]


def test_map_is_known_to_a_format_of_other_tools(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    path.write_text(
        '<sentences><sentence id="1"><text>good tea</text><aspectTerms><aspectTerm term="tea" '
        'polarity="topp" from="5" to="8"/></aspectTerms></sentence></sentences>'
    )
    rows = list(open_examples(str(path), label_map={"topp": Polarity.POSITIVE}).rows())
    assert gold(rows) == ["positive"]


def test_one_map_does_not_reach_another_file_read_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("text,polarity\na,bof\nb,bof\n")
    pairs = zip(
        open_examples(str(path), label_map={"bof": Polarity.NEUTRAL}).rows(),
        open_examples(str(path)).rows(),
        strict=True,
    )
    assert [(type(a), type(b)) for a, b in pairs] == [(Example, Rejected)] * 2


def test_spelling_that_no_label_has_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("text,polarity\na,pos\n")
    with pytest.warns(InputWarning, match="no label is 'Bof'"):
        (row,) = open_examples(str(path), label_map={"Bof": Polarity.NEUTRAL}).rows()
    assert isinstance(row, Example)
    assert [o.polarity for o in row.opinions] == ["positive"]


@pytest.mark.parametrize(("names", "expected"), [(["neg", "pos"], "positive"), (["0", "1"], None)])
def test_class_label_names_decide(names: list[str], expected: str | None, tmp_path: Path) -> None:
    feature = {"label": {"_type": "ClassLabel", "names": names}}
    schema = pa.schema([("text", pa.string()), ("label", pa.int64())]).with_metadata(
        {"huggingface": json.dumps({"info": {"features": feature}})}
    )
    pq.write_table(pa.table({"text": ["good"], "label": [1]}, schema), tmp_path / "a.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        rows = list(open_examples(str(tmp_path / "a.parquet")).rows())
    assert gold(rows) == ([expected] if expected else [])


def test_numbers_of_a_parquet_column_take_a_map(tmp_path: Path) -> None:
    table = pa.table({"text": ["good", "bad", "?"], "polarity": [1.0, 0.0, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    labels = {"1": Polarity.POSITIVE, "0": Polarity.NEGATIVE}
    assert gold(list(open_examples(str(tmp_path / "a.parquet"), label_map=labels).rows())) == [
        "positive",
        "negative",
    ]


def test_python_reads_a_file_with_a_map(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"text": "tea", "aspects": [{"term": "tea", "polarity": 2}]}\n')
    (example,) = read_posts(path, label_map={"2": "positive"}).examples
    assert [(o.aspect, o.polarity) for o in example.opinions] == [
        (Aspect(term="tea", start=0), "positive")
    ]
    with pytest.raises(UserError, match="2=great names no polarity"):
        read_posts(path, label_map={"2": "great"})


def test_data_set_takes_no_map() -> None:
    with pytest.raises(UserError, match="labels are known"):
        open_examples("tiny", label_map=CODES)
