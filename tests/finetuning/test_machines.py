"""The scale page's launch for two machines: two that meet on loopback learn what one learns."""

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
from tests.finetuning.running import ROOT, SPEAKS, base, log, recipe, start, written

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="no gloo here"),
]
PAGE = (ROOT / "docs/scale.md").read_text("utf-8")
LAUNCHES = re.findall(r"^\$ accelerate launch (.+ --num_machines 2 .+)$", PAGE, re.MULTILINE)


def launched(line, given, port):
    """One machine's launch as the page has it, here, with a process a machine and our recipe."""
    here = {"10.0.0.1": "127.0.0.1", "29500": str(port), "16": "2", "qwen3_vl_8b": str(given)}
    words = [here.get(word, word) for word in shlex.split(line)]
    return subprocess.Popen(
        [sys.executable, "-m", "accelerate.commands.launch", *words],
        cwd=ROOT,
        env={**os.environ, **SPEAKS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_machines_learn_what_one_process_learns(tmp_path):
    llama = base(tmp_path / "llama")
    alone, both = (
        written(recipe(llama, tmp_path / name, max_steps=3), tmp_path / f"{name}.yaml")
        for name in ("alone", "both")
    )
    single = start(ROOT / "finetune/lora.py", "--recipe", alone)
    assert single.returncode == 0, single.stderr[-4000:]
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    assert [re.search(r"--machine_rank (\d)", line)[1] for line in LAUNCHES] == ["0", "1"]
    machines = [launched(line, both, port) for line in LAUNCHES]
    try:
        said = [machine.communicate(timeout=280)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], said[0][-4000:] + said[1][-4000:]
    one, two = (log(tmp_path / name, "step", "loss", "grad_norm") for name in ("alone", "both"))
    assert len(one) == 3
    for mine, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4)
    assert manifest.whole(tmp_path / "both/adapter")
    first, second = (
        load_file(tmp_path / name / "adapter/adapter_model.safetensors")
        for name in ("alone", "both")
    )
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        torch.testing.assert_close(second[key], tensor, rtol=1e-4, atol=1e-5)
    assert ["both/adapter" in words for words in said] == [True, False]
