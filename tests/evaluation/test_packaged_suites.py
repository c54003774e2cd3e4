"""Every packaged suite loads, and all parts that it names exist."""

import re

import pytest

from gen_msa import predictors, resources
from gen_msa.annotation import JobSettings
from gen_msa.data import datasets
from gen_msa.data.base import is_test_split
from gen_msa.evaluation import published, suite
from gen_msa.evaluation.probes import probes
from gen_msa.evaluation.scores import SLICES
from gen_msa.metrics import metrics
from gen_msa.settings import build

NAMES = suite.names()


def test_each_labelled_dataset_has_a_suite() -> None:
    expected = {"twitter2015", "twitter2017", "mams", "mvsa_single", "mosi"}
    assert expected | {f"semeval14_{x}" for x in ("laptops", "restaurants", "tweets")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_suite_parts_exist(name: str) -> None:
    loaded_suite = suite.load(name)
    dataset, _, split = loaded_suite.data.partition(":")
    assert split in datasets[dataset].splits
    for family, options in loaded_suite.metric_options().items():
        assert metrics[family](**options).specs
    for metric_id in loaded_suite.headline:
        family, _, metric_name = metric_id.partition(".")
        assert metric_name in {f.name for f in metrics[family]().specs}
    assert set(loaded_suite.slices) <= set(SLICES)
    assert set(loaded_suite.probe_options()) <= set(probes.names())


@pytest.mark.parametrize("name", NAMES)
def test_suite_models_exist_and_accept_their_settings(name: str) -> None:
    loaded_suite = suite.load(name)
    for entry in loaded_suite.models:
        assert entry.model.partition(":")[0] in predictors.names()
        tree = {**loaded_suite.settings, **entry.settings, "model": entry.model}
        assert build(JobSettings, tree, name).model == entry.model


@pytest.mark.parametrize("name", NAMES)
def test_suite_published_tables_match_its_dataset(name: str) -> None:
    loaded_suite = suite.load(name)
    for file in loaded_suite.published:
        assert published.load_table(file).data == loaded_suite.data.partition(":")[0]
        assert published.load([file])


@pytest.mark.parametrize("name", NAMES)
def test_suite_uses_test_split_only_without_dev(name: str) -> None:
    loaded_suite = suite.load(name)
    no_dev = name.startswith("semeval14_")
    assert is_test_split(loaded_suite.data) == no_dev
    for entry in loaded_suite.models:
        if entry.model.startswith("majority:"):
            assert not is_test_split(entry.model)


@pytest.mark.parametrize("name", NAMES)
def test_probes_in_suite_comments_exist(name: str) -> None:
    text = resources.find_resource("eval/suites", name, ".yaml").read_text("utf-8")
    assert text.startswith("# ")
    for probe_list in re.findall(r"^# probes: \[(.*)\]$", text, re.M):
        assert set(probe_list.split(", ")) <= set(probes.names())


@pytest.mark.parametrize("name", NAMES)
def test_suite_cues_override_builtin_settings(name: str) -> None:
    for entry in suite.load(name).models:
        if entry.model == "builtin" and "cues" in entry.settings:
            assert entry.settings["adapter_settings"] == "override"
