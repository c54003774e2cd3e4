import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from gen_msa import prompting
from tests.backends import tiny_adapters
from tests.serving.vllm.builders import PROMPT


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_adapters.saved("llama", tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    inference = {"prompt": PROMPT, "cues": {}, "image": {"max_pixels": 2000}}
    digest = prompting.load_prompt(PROMPT).digest
    folder = tmp_path_factory.mktemp("adapters") / "mabsa"
    return tiny_adapters.train(base, folder, prompts={PROMPT: digest}, inference=inference)
