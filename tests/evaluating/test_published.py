"""Every file of published figures loads, is in range, and names figures that we have."""

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluating import published
from gen_msa.metrics import metrics

OPTIONS = {"sims": {"intensity": {"scale": "sims"}}}


def known(file: str, family: str) -> dict[str, str]:
    """The figures of a family, and their units, as the file's data set is measured."""
    made = metrics[family](**OPTIONS.get(file, {}).get(family, {}))
    return {f.name: f.unit for f in made.figures}


@pytest.mark.parametrize("file", published.names())
def test_each_figure_is_one_of_ours_in_our_unit(file: str) -> None:
    table = published.table(file)
    assert table.source
    assert table.protocol
    for row in table.rows:
        for name in row.percent | row.plain:
            family, _, figure = name.partition(".")
            unit = known(file, family)[figure]
            assert (unit == "share") == (name in row.percent), f"{row.name}: {name} is a {unit}"


@pytest.mark.parametrize("file", published.names())
def test_each_row_says_where_it_was_printed_and_how_it_was_had(file: str) -> None:
    for row in published.load([file]):
        assert len(row.source) > 20
        assert row.protocol.startswith(published.table(file).data)
        ranged = {k: v for k, v in row.figures.items() if not k.endswith(("mae", "pearson"))}
        assert all(0 <= v <= 1 for v in ranged.values())


@pytest.mark.parametrize("file", [n for n in published.names() if n.endswith("_jmasa")])
def test_f1_is_what_precision_and_recall_make_it(file: str) -> None:
    for row in published.load([file]):
        p, r, f = (row.figures[f"joint.jmasa_{k}"] for k in ("precision", "recall", "f1"))
        fits = abs(2 * p * r / (p + r) - f) < 0.0011
        assert fits or "do not fit" in row.protocol, row.name


def test_a_printed_percentage_becomes_a_share() -> None:
    [row] = published.load(["twitter2015_masc#TomBERT"])
    assert row.figures == {"labels.accuracy": 0.7715, "labels.macro_f1": 0.7175}
    assert "MDSE" in row.source
    assert row.protocol.startswith("twitter2015:test. ")


def test_figures_that_are_no_shares_stay_as_they_are() -> None:
    [row] = published.load(["mosi#TFN"])
    assert row.figures["intensity.mae"] == 0.947
    assert row.figures["intensity.acc7"] == 0.3446


def test_files_are_found_by_data_and_split() -> None:
    assert published.about("twitter2015:test") == ["twitter2015_jmasa", "twitter2015_masc"]
    assert published.about("twitter2015:dev") == []
    assert published.about("mosi") == ["mosi"]


@pytest.mark.parametrize(
    ("name", "mend"),
    [("twitter2015_mask", "twitter2015_masc"), ("twitter2015_masc#TomBRET", "'TomBERT'")],
)
def test_an_unknown_name_is_met_with_the_nearest(name: str, mend: str) -> None:
    with pytest.raises(UserError, match=mend):
        published.load([name])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{name: x, percent: {labels.accuracy: 177}}", "no percentage"),
        ("{name: x, percent: {accuracy: 77}}", "not family.figure"),
        ("{name: x}", "each figure once"),
        ("{name: x, percent: {a.b: 1}, plain: {a.b: 1}}", "each figure once"),
        ("{name: x, percent: {a.b: 1}}, {name: x, percent: {a.b: 2}}", "named twice"),
    ],
)
def test_a_slip_in_a_file_is_an_error(tmp_path, row: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    head = "{data: d, split: test, task: masc, source: s, protocol: p, rows: [%s]}"
    path.write_text(head % row)
    with pytest.raises(UserError, match=said):
        published.load([str(path)])
