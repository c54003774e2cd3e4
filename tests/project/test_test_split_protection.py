"""A split named test is never read by what tunes, trains or chooses: refused by name, and watched.

The last tests run the data side of every shipped recipe on the real files and list what is opened.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gen_msa import resources
from gen_msa.data import datasets
from gen_msa.distillation import recipe as distilling
from gen_msa.errors import UserError
from gen_msa.finetuning import recipe as finetuning
from gen_msa.finetuning.rationales import minigpt4
from gen_msa.predictors import PredictorSettings, make

TEST_SPLITS = [f"{name}:test" for name in datasets.names() if "test" in datasets[name].splits]
TEST_FILES = [
    "test.jsonl",
    "mine/TEST.tsv",
    "mine/posts.test.jsonl",
    "x_test.jsonl",
    "test/posts.jsonl",
]
ERROR_PATTERN = "never read while tuning|must not be counted"


def finetune_data(source: str) -> None:
    finetuning.load_recipe("tiny_cpu", [f"data=[{{source: '{source}'}}]"])


def finetune_dev(source: str) -> None:
    finetuning.load_recipe("tiny_cpu", [f"dev=[{{source: '{source}'}}]"])


def distill_data(source: str) -> None:
    distilling.load_recipe("text", [f"data=[{{source: '{source}'}}]"])


def distill_dev(source: str) -> None:
    distilling.load_recipe("text", [f"dev=[{{source: '{source}'}}]"])


def majority_source(source: str) -> None:
    make(PredictorSettings(model=f"majority:{source}"), media_root=Path())


ENTRY_POINTS = [finetune_data, finetune_dev, distill_data, distill_dev, majority_source]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize("source", [*TEST_SPLITS, *TEST_FILES])
def test_test_split_is_rejected(entry_point: Callable[[str], None], source: str) -> None:
    with pytest.raises(UserError, match=ERROR_PATTERN):
        entry_point(source)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_test_split_is_rejected_before_lookup(
    entry_point: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEN_MSA_DATA", str(tmp_path))
    with pytest.raises(UserError, match=ERROR_PATTERN):
        entry_point("twitter2015:test")


def test_recorded_rationales_exclude_the_test_split() -> None:
    assert minigpt4.SPLITS == ("train", "dev")


def yaml_strings(tree: Any) -> Iterator[str]:
    """Every key and text of a YAML tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield str(key)
            yield from yaml_strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from yaml_strings(value)
    elif isinstance(tree, str):
        yield tree


@pytest.mark.parametrize("folder", ["finetune/lora", "finetune/distill"])
def test_no_default_recipe_names_a_test_split(folder: str) -> None:
    mentions = {
        f"{name}: {value}"
        for name in resources.resource_names(folder, ".yaml")
        for value in yaml_strings(
            yaml.safe_load((resources.resource_folder(folder) / f"{name}.yaml").read_text())
        )
        if re.search(r"(?:^|[:/._-])test(?:$|[./,_*-])", value, re.IGNORECASE)
    }
    assert mentions == set()


FINETUNING_SCRIPT = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from gen_msa.finetuning import dataset, recipe, validation
plan = recipe.load_recipe(sys.argv[1], ["dev_limit=3"])
few = tuple(d.model_copy(update={"limit": 3}) for d in plan.data)
plan = plan.model_copy(update={"data": few})
assert dataset.build_dataset(plan, supports_images=False).samples
assert validation.load_dev_sets(plan)
print("\\n".join(opened))
"""

DISTILLATION_SCRIPT = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from gen_msa.distillation import dataset, recipe
plan = recipe.load_recipe(sys.argv[1])
assert all(dataset.build_dataset(d, plan).rows for d in (*plan.data, *plan.dev))
print("\\n".join(opened))
"""


@pytest.mark.skipif("GEN_MSA_DATA" not in os.environ, reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize(
    ("code", "name"),
    [
        pytest.param(FINETUNING_SCRIPT, "builtin", marks=pytest.mark.slow),
        (DISTILLATION_SCRIPT, "text"),
    ],
)
def test_default_recipe_opens_no_file_of_a_test_split(code: str, name: str) -> None:
    command = [sys.executable, "-c", code, name]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-2000:]
    data = os.environ["GEN_MSA_DATA"]
    opened = [
        Path(p).relative_to(data) for p in completed.stdout.splitlines() if p.startswith(data)
    ]
    assert opened
    assert [str(p) for p in opened if "test" in re.split(r"\W|_", p.stem.lower())] == []
