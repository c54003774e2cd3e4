"""Importing the command line loads nothing heavy."""

import json
import subprocess
import sys

HEAVY = ["torch", "transformers", "vllm", "spacy", "pyarrow", "PIL", "datasets", "numpy", "httpx"]


def test_importing_the_cli_loads_no_heavy_library() -> None:
    found = f"[m for m in {HEAVY} if m in sys.modules]"
    code = f"import sys, json, gen_msa.cli; print(json.dumps({found}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_the_doors_of_the_rooms_load_no_model_library() -> None:
    rooms = "cues, data, prompting, backends, builtin, media, report, readers, students, "
    rooms += "annotating, distilling, serving"
    found = "[m for m in ['torch', 'transformers', 'vllm', 'spacy'] if m in sys.modules]"
    code = f"import sys, json; from gen_msa import {rooms}; print(json.dumps({found}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []
