"""Importing the command line loads nothing heavy."""

import json
import subprocess
import sys

HEAVY = ["torch", "transformers", "vllm", "spacy", "pyarrow", "PIL", "datasets", "numpy", "httpx"]


def test_cli_import_loads_no_heavy_library() -> None:
    loaded = f"[m for m in {HEAVY} if m in sys.modules]"
    code = f"import sys, json, gen_msa.cli; print(json.dumps({loaded}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_package_imports_load_no_model_library() -> None:
    packages = "cues, data, prompting, backends, builtin, media, report, predictors, models, "
    packages += "annotation, distillation, serving, training, api"
    loaded = "[m for m in ['torch', 'transformers', 'vllm', 'spacy'] if m in sys.modules]"
    code = f"import sys, json; from gen_msa import {packages}; print(json.dumps({loaded}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []
