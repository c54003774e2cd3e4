"""The commands of docs/scale.md run in their order; its tables are what the house computes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gen_msa as package
from eval import memory_estimate
from gen_msa import resources
from gen_msa.annotation import JobSettings
from gen_msa.finetuning import recipe
from gen_msa.settings import load
from tests.fixtures import commands
from tests.fixtures.posts import post, write_posts

ROOT = Path(package.__file__).parent.parent
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ gen-msa (.+)$", PAGE, re.MULTILINE)
LAUNCHES = re.findall(r"^\$ (accelerate .+)$", PAGE, re.MULTILINE)
SCRIPT = re.search(r"```bash\n(.+?)```", PAGE, re.DOTALL)[1]
LOCAL_COMMANDS = [c for c in COMMANDS if "--engine ray" not in c and "-of-8" not in c]
QUICKLY = ["cues={}", "chunk=4"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posts(tmp_path / "posts.jsonl", map(post, range(40)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command, monkeypatch, capfd, *more):
    """Run a command with the packaged fake as its model."""
    commands.run(command.replace("builtin", "echo"), monkeypatch, capfd, *more)


def test_commands_of_the_page_run_in_order(folder, monkeypatch, capfd):
    assert len(LOCAL_COMMANDS) == 7
    # A prompt of its own would not fit the replaced model.
    assert not [c for c in LOCAL_COMMANDS if "builtin" in c and " -p " in c]
    for command in LOCAL_COMMANDS:
        run(command, monkeypatch, capfd, *([] if command.startswith("merge") else QUICKLY))
    assert "40 posts answered" not in capfd.readouterr().err
    run("explain posts.jsonl -m echo -o alone.jsonl", monkeypatch, capfd, *QUICKLY)
    assert (folder / "out/opinions.jsonl").read_bytes() == (folder / "alone.jsonl").read_bytes()
    assert (folder / "again/opinions.1-of-3.part").is_file()
    assert (folder / "out/teacher.summary.json").is_file()


def test_slurm_script_runs_as_an_array(folder, monkeypatch, capfd):
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
        job_env = {"PATH": path, "PYTHONPATH": str(ROOT), "SLURM_ARRAY_TASK_ID": task}
        subprocess.run(["bash", "job.sh"], env={**os.environ, **job_env}, check=True)
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
    run("explain posts.jsonl -m echo -o alone.jsonl", monkeypatch, capfd, *QUICKLY)
    assert (folder / "ray/opinions.jsonl").read_bytes() == (folder / "alone.jsonl").read_bytes()


def test_cluster_commands_have_valid_settings():
    explain_commands = re.findall(r"^(?:head|each)\$ gen-msa explain (.+)$", PAGE, re.MULTILINE)
    assert len(explain_commands) == 2
    for command in explain_commands:
        keys = [w for w in shlex.split(command) if "=" in w]
        engine = ["engine=ray", "address=10.0.0.1:6379"] if "--engine ray" in command else []
        assert load(JobSettings, None, [*keys, *engine])


@pytest.mark.parametrize("command", LAUNCHES)
def test_launch_command_names_existing_files(command):
    arguments = shlex.split(command)
    for argument in arguments:
        if argument.startswith("finetune/"):
            assert (resources.resource_folder("finetune").parent / argument).is_file()
    name = arguments.index("--recipe") + 1
    loaded_recipe = recipe.load_recipe(arguments[name], arguments[name + 1 :])
    processes = int(arguments[arguments.index("--num_processes") + 1])
    posts = (
        processes
        * loaded_recipe.per_device_train_batch_size
        * loaded_recipe.gradient_accumulation_steps
    )
    assert posts == 16


def test_accelerate_accepts_the_launch_options():
    parser = pytest.importorskip("accelerate.commands.launch").launch_command_parser()
    for command in LAUNCHES:
        parsed = parser.parse_args(shlex.split(command)[2:])
        assert parsed.training_script == "finetune/lora.py"
        assert int(parsed.machine_rank or 0) < int(parsed.num_machines or 1)


def test_memory_note_of_recipe_matches_the_estimate():
    note = (ROOT / "finetune/lora/qwen3_vl_8b.yaml").read_text(encoding="utf-8")
    note = " ".join(line.lstrip("# ") for line in note.splitlines())
    shape = memory_estimate.SHAPES["Qwen3-VL 8B"]
    one_gpu, two_gpus = (
        memory_estimate.lora(shape, n, tokens=2048, answers=135).total
        / 1e9  # a row of 1,024, two a batch
        for n in (1, 2)
    )
    assert f"Together {one_gpu:.1f} GB on one GPU" in note
    assert f"= {two_gpus:.1f} GB each" in note


def test_memory_table_matches_the_estimate():
    assert memory_estimate.table() in PAGE
    weights = {name: shape.total / 1e9 for name, shape in memory_estimate.SHAPES.items()}
    assert f"{weights['Qwen2.5-VL 72B']:.1f} G\nweights" in PAGE
