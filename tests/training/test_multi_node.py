"""The scale page's launch for two machines: two on loopback train what one process trains."""

import os
import re
import shlex
import socket
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
from safetensors.torch import load_file

from gen_msa import manifest
from tests.finetuning.run_recipes import (
    ROOT,
    SUBPROCESS_ENV,
    build_recipe,
    read_log,
    run_process,
    save_tiny_model,
    write_recipe,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo here"),
]
SCALE_PAGE = (ROOT / "docs/scale.md").read_text("utf-8")
LAUNCH_COMMANDS = re.findall(
    r"^\$ accelerate launch (.+ --num_machines 2 .+)$", SCALE_PAGE, re.MULTILINE
)


def launch_machine(command, recipe_file, port):
    """Start one machine's launch as on the page, with one process a machine and our recipe."""
    replacements = {
        "10.0.0.1": "127.0.0.1",
        "29500": str(port),
        "16": "2",
        "qwen3_vl_8b": str(recipe_file),
    }
    arguments = [replacements.get(argument, argument) for argument in shlex.split(command)]
    return subprocess.Popen(
        [sys.executable, "-m", "accelerate.commands.launch", *arguments],
        cwd=ROOT,
        env={**os.environ, **SUBPROCESS_ENV},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_machines_match_one_process(tmp_path):
    llama = save_tiny_model(tmp_path / "llama")
    single_recipe, multi_recipe = (
        write_recipe(build_recipe(llama, tmp_path / name, max_steps=3), tmp_path / f"{name}.yaml")
        for name in ("alone", "both")
    )
    process = run_process(ROOT / "finetune/lora.py", "--recipe", single_recipe)
    assert process.returncode == 0, process.stderr[-4000:]
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    assert [re.search(r"--machine_rank (\d)", command)[1] for command in LAUNCH_COMMANDS] == [
        "0",
        "1",
    ]
    machines = [launch_machine(command, multi_recipe, port) for command in LAUNCH_COMMANDS]
    try:
        outputs = [machine.communicate(timeout=280)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], (
        outputs[0][-4000:] + outputs[1][-4000:]
    )
    single_log, multi_log = (
        read_log(tmp_path / name, "step", "loss", "grad_norm") for name in ("alone", "both")
    )
    assert len(single_log) == 3
    for single_row, multi_row in zip(single_log, multi_log, strict=True):
        assert multi_row == pytest.approx(single_row, rel=1e-4)
    assert manifest.is_intact(tmp_path / "both/adapter")
    single_tensors, multi_tensors = (
        load_file(tmp_path / name / "adapter/adapter_model.safetensors")
        for name in ("alone", "both")
    )
    assert single_tensors.keys() == multi_tensors.keys()
    for key, tensor in single_tensors.items():
        torch.testing.assert_close(multi_tensors[key], tensor, rtol=1e-4, atol=1e-5)
    assert ["both/adapter" in output for output in outputs] == [True, False]
