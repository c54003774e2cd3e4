"""What tests of `gen-msa serve vllm:…` share: its settings, and words."""

from gen_msa.serving.vllm import VllmSettings
from gen_msa.settings import load

KEY = "a-key-for-tests-only"
PROMPT = "predict/plain"


def load_settings(base, adapter, *overrides):
    return load(VllmSettings, overrides=[f"model=vllm:{base}@{adapter}", *overrides])
