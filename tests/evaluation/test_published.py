"""Every file of published results loads, is in range, and names metrics that exist."""

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluation import published
from gen_msa.metrics import metrics

OPTIONS = {"sims": {"intensity": {"scale": "sims"}}}


def units_by_metric(file: str, family: str) -> dict[str, str]:
    """Return the metrics of a family and their units, as the file's data set is measured."""
    metric = metrics[family](**OPTIONS.get(file, {}).get(family, {}))
    return {f.name: f.unit for f in metric.specs}


@pytest.mark.parametrize("file", published.names())
def test_published_metrics_exist_with_matching_units(file: str) -> None:
    table = published.load_table(file)
    assert table.source
    assert table.protocol
    for row in table.rows:
        for name in row.percent | row.plain:
            family, _, metric_name = name.partition(".")
            unit = units_by_metric(file, family)[metric_name]
            assert (unit == "share") == (name in row.percent), f"{row.name}: {name} is a {unit}"


@pytest.mark.parametrize("file", published.names())
def test_published_rows_name_source_and_protocol(file: str) -> None:
    for row in published.load([file]):
        assert len(row.source) > 20
        assert row.protocol.startswith(published.load_table(file).data)
        ranged = {k: v for k, v in row.metrics.items() if not k.endswith(("mae", "pearson"))}
        assert all(0 <= v <= 1 for v in ranged.values())


@pytest.mark.parametrize("file", [n for n in published.names() if n.endswith("_jmasa")])
def test_published_f1_fits_precision_and_recall(file: str) -> None:
    for row in published.load([file]):
        p, r, f = (row.metrics[f"joint.jmasa_{k}"] for k in ("precision", "recall", "f1"))
        fits = abs(2 * p * r / (p + r) - f) < 0.0011
        assert fits or "do not fit" in row.protocol, row.name


def test_load_converts_percentages_to_shares() -> None:
    [row] = published.load(["twitter2015_masc#TomBERT"])
    assert row.metrics == {"labels.accuracy": 0.7715, "labels.macro_f1": 0.7175}
    assert "MDSE" in row.source
    assert row.protocol.startswith("twitter2015:test. ")


def test_load_keeps_plain_values() -> None:
    [row] = published.load(["mosi#TFN"])
    assert row.metrics["intensity.mae"] == 0.947
    assert row.metrics["intensity.acc7"] == 0.3446


def test_tables_for_finds_files_by_dataset_and_split() -> None:
    assert published.tables_for("twitter2015:test") == ["twitter2015_jmasa", "twitter2015_masc"]
    assert published.tables_for("twitter2015:dev") == []
    assert published.tables_for("mosi") == ["mosi"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("twitter2015_mask", "twitter2015_masc"), ("twitter2015_masc#TomBRET", "'TomBERT'")],
)
def test_load_suggests_the_nearest_name(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        published.load([name])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{name: x, percent: {labels.accuracy: 177}}", "no percentage"),
        ("{name: x, percent: {accuracy: 77}}", "not family.metric"),
        ("{name: x}", "each metric once"),
        ("{name: x, percent: {a.b: 1}, plain: {a.b: 1}}", "each metric once"),
        ("{name: x, percent: {a.b: 1}}, {name: x, percent: {a.b: 2}}", "named twice"),
    ],
)
def test_load_rejects_invalid_table(tmp_path, row: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    template = "{data: d, split: test, task: masc, source: s, protocol: p, rows: [%s]}"
    path.write_text(template % row)
    with pytest.raises(UserError, match=message):
        published.load([str(path)])
