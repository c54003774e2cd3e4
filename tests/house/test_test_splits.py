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

from gen_msa import shipped
from gen_msa.data import datasets
from gen_msa.distilling import recipe as distilling
from gen_msa.errors import UserError
from gen_msa.finetuning import recipe as finetuning
from gen_msa.finetuning.reasons import minigpt4
from gen_msa.readers import ReaderSettings, make

TESTS = [f"{name}:test" for name in datasets.names() if "test" in datasets[name].splits]
FILES = ["test.jsonl", "mine/TEST.tsv", "mine/posts.test.jsonl", "x_test.jsonl", "test/posts.jsonl"]
REFUSED = "never read while tuning|not to be counted"


def finetuned(source: str) -> None:
    finetuning.load("tiny_cpu", [f"data=[{{source: '{source}'}}]"])


def finetune_chosen(source: str) -> None:
    finetuning.load("tiny_cpu", [f"dev=[{{source: '{source}'}}]"])


def distilled(source: str) -> None:
    distilling.load("text", [f"data=[{{source: '{source}'}}]"])


def distil_chosen(source: str) -> None:
    distilling.load("text", [f"dev=[{{source: '{source}'}}]"])


def counted(source: str) -> None:
    make(ReaderSettings(reader=f"majority:{source}"), media_root=Path())


WAYS = [finetuned, finetune_chosen, distilled, distil_chosen, counted]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", [*TESTS, *FILES])
def test_a_split_named_test_is_refused(way: Callable[[str], None], source: str) -> None:
    with pytest.raises(UserError, match=REFUSED):
        way(source)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_refused_before_it_is_looked_for(
    way: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEN_MSA_DATA", str(tmp_path))
    with pytest.raises(UserError, match=REFUSED):
        way("twitter2015:test")


def test_the_teacher_s_rationales_of_test_posts_are_not_among_the_reasons() -> None:
    assert minigpt4.SPLITS == ("train", "dev")


def strings(tree: Any) -> Iterator[str]:
    """Every key and text of a YAML tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield str(key)
            yield from strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from strings(value)
    elif isinstance(tree, str):
        yield tree


@pytest.mark.parametrize("folder", ["finetune/lora", "finetune/distill"])
def test_no_shipped_recipe_names_a_test_split_or_a_file_of_one(folder: str) -> None:
    named = {
        f"{name}: {said}"
        for name in shipped.names(folder, ".yaml")
        for said in strings(yaml.safe_load((shipped.folder(folder) / f"{name}.yaml").read_text()))
        if re.search(r"(?:^|[:/._-])test(?:$|[./,_*-])", said, re.IGNORECASE)
    }
    assert named == set()


WATCH = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from gen_msa.finetuning import devs, recipe, rows
plan = recipe.load(sys.argv[1], ["dev_limit=3"])
few = tuple(d.model_copy(update={"limit": 3}) for d in plan.data)
plan = plan.model_copy(update={"data": few})
assert rows.gather(plan, sees_pictures=False).samples
assert devs.dev_posts(plan)
print("\\n".join(opened))
"""

WATCH_DISTILLING = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from gen_msa.distilling import recipe, rows
plan = recipe.load(sys.argv[1])
assert all(rows.gather(d, plan).rows for d in (*plan.data, *plan.dev))
print("\\n".join(opened))
"""


@pytest.mark.skipif("GEN_MSA_DATA" not in os.environ, reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize(
    ("code", "name"),
    [pytest.param(WATCH, "builtin", marks=pytest.mark.slow), (WATCH_DISTILLING, "text")],
)
def test_a_shipped_recipe_opens_no_file_of_a_test_split(code: str, name: str) -> None:
    run = [sys.executable, "-c", code, name]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    data = os.environ["GEN_MSA_DATA"]
    opened = [Path(p).relative_to(data) for p in done.stdout.splitlines() if p.startswith(data)]
    assert opened
    assert [str(p) for p in opened if "test" in re.split(r"\W|_", p.stem.lower())] == []
