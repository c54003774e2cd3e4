"""Every shipped suite loads, and all that it names is there."""

import re

import pytest

from gen_msa import readers, shipped
from gen_msa.annotating import JobSettings
from gen_msa.data import datasets
from gen_msa.data.splits import is_test
from gen_msa.evaluating import published, suite
from gen_msa.evaluating.probing import probes
from gen_msa.evaluating.slicing import SLICES
from gen_msa.metrics import metrics
from gen_msa.settings import build

NAMES = suite.names()


def test_there_is_a_suite_for_each_set_with_gold_polarities() -> None:
    expected = {"twitter2015", "twitter2017", "mams", "mvsa_single", "mosi"}
    assert expected | {f"semeval14_{x}" for x in ("laptops", "restaurants", "tweets")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_data_metrics_slices_and_probes_are_there(name: str) -> None:
    plan = suite.load(name)
    dataset, _, split = plan.data.partition(":")
    assert split in datasets[dataset].splits
    for family, options in plan.families().items():
        assert metrics[family](**options).figures
    for figure in plan.headline:
        family, _, one = figure.partition(".")
        assert one in {f.name for f in metrics[family]().figures}
    assert set(plan.slices) <= set(SLICES)
    assert set(plan.probed()) <= set(probes.names())


@pytest.mark.parametrize("name", NAMES)
def test_readers_are_known_and_their_settings_fit(name: str) -> None:
    plan = suite.load(name)
    for entry in plan.readers:
        assert entry.reader.partition(":")[0] in readers.names()
        tree = {**plan.settings, **entry.settings, "reader": entry.reader}
        assert build(JobSettings, tree, name).reader == entry.reader


@pytest.mark.parametrize("name", NAMES)
def test_published_rows_are_about_the_same_data(name: str) -> None:
    plan = suite.load(name)
    for file in plan.published:
        assert published.table(file).data == plan.data.partition(":")[0]
        assert published.load([file])


@pytest.mark.parametrize("name", NAMES)
def test_test_is_read_only_where_there_is_no_other_unseen_split(name: str) -> None:
    plan = suite.load(name)
    no_dev = name.startswith("semeval14_")
    assert is_test(plan.data) == no_dev
    for entry in plan.readers:
        if entry.reader.startswith("majority:"):
            assert not is_test(entry.reader)


@pytest.mark.parametrize("name", NAMES)
def test_probes_named_in_comments_are_there_too(name: str) -> None:
    text = shipped.shipped("eval/suites", name, ".yaml").read_text("utf-8")
    assert text.startswith("# ")
    for said in re.findall(r"^# probes: \[(.*)\]$", text, re.M):
        assert set(said.split(", ")) <= set(probes.names())


@pytest.mark.parametrize("name", NAMES)
def test_cues_given_to_the_builtin_reader_are_said_to_override_its_own(name: str) -> None:
    for entry in suite.load(name).readers:
        if entry.reader == "builtin" and "cues" in entry.settings:
            assert entry.settings["adapter_settings"] == "override"
