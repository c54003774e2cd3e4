"""The commands of docs/scale.md run in their order; its tables are what the house computes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gen_msa as package
from gen_msa import shipped
from gen_msa.annotating import JobSettings
from gen_msa.finetuning import fitting, recipe
from gen_msa.settings import load
from tests.fixtures import commands
from tests.fixtures.posts import post, write_posts

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", PAGE, re.MULTILINE)
LAUNCHES = re.findall(r"^\$ (accelerate .+)$", PAGE, re.MULTILINE)
SCRIPT = re.search(r"```bash\n(.+?)```", PAGE, re.DOTALL)[1]
HERE = [c for c in COMMANDS if "--engine ray" not in c and "-of-8" not in c]
QUICKLY = ["cues={}", "chunk=4"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posts(tmp_path / "posts.jsonl", map(post, range(40)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command, monkeypatch, capfd, *more):
    """With the shipped fake for the model."""
    commands.run(command.replace("builtin", "echo"), monkeypatch, capfd, *more)


def test_the_commands_of_the_page_run_one_after_the_other(folder, monkeypatch, capfd):
    assert len(HERE) == 7
    # Of the replaced name the model's own prompt would be in the way.
    assert not [c for c in HERE if "builtin" in c and " -p " in c]
    for command in HERE:
        run(command, monkeypatch, capfd, *([] if command.startswith("merge") else QUICKLY))
    assert "40 posts answered" not in capfd.readouterr().err
    run("explain posts.jsonl -r echo -o alone.jsonl", monkeypatch, capfd, *QUICKLY)
    assert (folder / "out/opinions.jsonl").read_bytes() == (folder / "alone.jsonl").read_bytes()
    assert (folder / "again/opinions.1-of-3.part").is_file()
    assert (folder / "out/teacher.summary.json").is_file()


def test_the_slurm_script_runs_as_an_array(folder, monkeypatch, capfd):
    shim = folder / "bin" / "gen-msa"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gen_msa "$@" {" ".join(QUICKLY)}\n')
    shim.chmod(0o755)
    assert "#SBATCH --array=1-8" in SCRIPT
    (folder / "job.sh").write_text(
        SCRIPT.replace("shards=8", "shards=2").replace("builtin", "echo")
    )
    for task in ("1", "2"):
        path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(ROOT), "SLURM_ARRAY_TASK_ID": task}
        subprocess.run(["bash", "job.sh"], env={**os.environ, **own}, check=True)
    (merge,) = [c for c in COMMANDS if "-of-8" in c]
    run(merge.replace("-of-8", "-of-2"), monkeypatch, capfd)
    assert len((folder / "out/opinions.jsonl").read_bytes().splitlines()) == 40


@pytest.mark.ray
def test_the_command_with_ray_writes_what_one_process_writes(folder, monkeypatch, capfd):
    pytest.importorskip("ray", reason="ray is not installed")
    (command,) = [c for c in COMMANDS if "--engine ray" in c]
    words = shlex.split(command.replace("builtin", "echo"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = [sys.executable, "-m", "gen_msa", *words, *QUICKLY]
    subprocess.run(whole, env=environment, check=True, timeout=120)
    run("explain posts.jsonl -r echo -o alone.jsonl", monkeypatch, capfd, *QUICKLY)
    assert (folder / "ray/opinions.jsonl").read_bytes() == (folder / "alone.jsonl").read_bytes()


def test_the_commands_on_a_cluster_have_settings_that_load():
    given = re.findall(r"^(?:head|each)\$ gen-msa explain (.+)$", PAGE, re.MULTILINE)
    assert len(given) == 2
    for command in given:
        keys = [w for w in shlex.split(command) if "=" in w]
        engine = ["engine=ray", "address=10.0.0.1:6379"] if "--engine ray" in command else []
        assert load(JobSettings, None, [*keys, *engine])


@pytest.mark.parametrize("command", LAUNCHES)
def test_a_launch_names_what_exists(command):
    words = shlex.split(command)
    for word in words:
        if word.startswith("finetune/"):
            assert (shipped.folder("finetune").parent / word).is_file()
    name = words.index("--recipe") + 1
    asked = recipe.load(words[name], words[name + 1 :])
    processes = int(words[words.index("--num_processes") + 1])
    posts = processes * asked.per_device_train_batch_size * asked.gradient_accumulation_steps
    assert posts == 16


def test_accelerate_knows_the_options_of_a_launch():
    parser = pytest.importorskip("accelerate.commands.launch").launch_command_parser()
    for command in LAUNCHES:
        known = parser.parse_args(shlex.split(command)[2:])
        assert known.training_script == "finetune/lora.py"
        assert int(known.machine_rank or 0) < int(known.num_machines or 1)


def test_what_a_recipe_says_of_its_memory_is_what_the_house_computes():
    told = (ROOT / "finetune/lora/qwen3_vl_8b.yaml").read_text(encoding="utf-8")
    told = " ".join(line.lstrip("# ") for line in told.splitlines())
    shape = fitting.SHAPES["Qwen3-VL 8B"]
    one, two = (
        fitting.lora(shape, n, tokens=2048, answers=135).total / 1e9  # a row of 1,024, two a batch
        for n in (1, 2)
    )
    assert f"Together {one:.1f} GB on one GPU" in told
    assert f"= {two:.1f} GB each" in told


def test_the_table_is_what_the_house_computes():
    assert fitting.table() in PAGE
    weights = {name: shape.total / 1e9 for name, shape in fitting.SHAPES.items()}
    assert f"{weights['Qwen2.5-VL 72B']:.1f} G\nweights" in PAGE
