"""`--label-map` and the setting `label_map` where gold labels are read."""

import json

import pytest

LABELS = {"0": "negative", "1": "neutral", "2": "positive"}
OPTIONS = [x for label, name in LABELS.items() for x in ("--label-map", f"{label}={name}")]


@pytest.fixture
def numbers(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("id,text,aspect,polarity\n1,good tea,tea,2\n2,bad cup,cup,0\n3,a pot,pot,1\n")
    return path


def gold(path):
    rows = map(json.loads, path.read_text("utf-8").splitlines())
    return [o["polarity"] for r in rows for o in r["opinions"] if o["annotator"] == "gold"]


@pytest.mark.parametrize("form", ["option", "setting"])
def test_explain_keeps_gold_labels_of_mapped_spellings(gen_msa, numbers, tmp_path, form):
    config = tmp_path / "c.yaml"
    config.write_text("label_map: {0: negative, 1: neutral, 2: positive}\n")
    options = OPTIONS if form == "option" else ("--config", config)
    out = tmp_path / "o.jsonl"
    completed = gen_msa("explain", numbers, "-m", "echo", "-o", out, "cues={}", *options)

    assert completed.code == 0, completed.err
    assert gold(out) == ["positive", "negative", "neutral"]


def test_without_a_map_the_rows_are_rejected_with_the_option_to_give(gen_msa, numbers, tmp_path):
    completed = gen_msa("convert", numbers, tmp_path / "o.jsonl")
    rejected = [json.loads(x) for x in (tmp_path / "o.jsonl.rejected.jsonl").open()]

    assert completed.code == 3
    assert [r["reason"].partition("--label-map ")[2][:2] for r in rejected] == ["2=", "0=", "1="]
    assert gen_msa("convert", numbers, tmp_path / "o.jsonl", *OPTIONS, "--strict").code == 0
    assert gold(tmp_path / "o.jsonl") == ["positive", "negative", "neutral"]


@pytest.mark.parametrize(
    ("value", "message"),
    [("2", "not LABEL=POLARITY"), ("2=great", "names no polarity"), ("=positive", "not LABEL=")],
)
def test_bad_values_are_refused(gen_msa, numbers, tmp_path, value, message):
    completed = gen_msa("convert", numbers, tmp_path / "o.jsonl", "--label-map", value)

    assert completed.code == 2
    assert message in completed.err
