"""What tests of `gen-msa serve vllm:…` share: its settings, and words."""

from gen_msa.serving.vllm import VllmSettings
from gen_msa.settings import load

KEY = "a-key-for-tests-only"
PROMPT = "reader/plain"


def settings(base, adapter, *overrides):
    return load(VllmSettings, overrides=[f"reader=vllm:{base}@{adapter}", *overrides])
