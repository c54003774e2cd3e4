"""Tiny models large enough for vLLM's attention kernels (heads of 32), adapters, and servers."""

import importlib.util
import os
import re

import pytest

HAS_VLLM = importlib.util.find_spec("vllm") is not None
SKIP_REASON = "vLLM is not installed here: make test-vllm uses its own environment"

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/vllm/" in item.path.as_posix():
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(900))
            if not HAS_VLLM:
                item.add_marker(pytest.mark.skip(reason=SKIP_REASON))


@pytest.fixture(scope="session")
def text_model(tmp_path_factory):
    from tests.vllm.tiny_models import llama

    return llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def vision_model(tmp_path_factory):
    from tests.vllm.tiny_models import idefics3

    return idefics3(tmp_path_factory.mktemp("models") / "tiny-idefics3")


@pytest.fixture(scope="session")
def text_adapter(text_model, tmp_path_factory):
    from tests.vllm.tiny_models import adapter

    return adapter(text_model, tmp_path_factory.mktemp("adapters") / "mabsa")


@pytest.fixture(scope="session")
def vision_adapter(vision_model, tmp_path_factory):
    from tests.vllm.tiny_models import adapter

    text_side = r".*text_model.*\.(q_proj|v_proj)"
    folder = tmp_path_factory.mktemp("adapters") / "mabsa"
    return adapter(vision_model, folder, target_modules=text_side)


@pytest.fixture
def prefix_cache_counts():
    """Return a function that reads `vllm:prefix_cache_{queries,hits}` of a server, in tokens."""
    import httpx

    def read_counts(url):
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        counters = dict(re.findall(r"^vllm:prefix_cache_(\w+)_total\{[^}]*\} (\S+)$", text, re.M))
        return float(counters["queries"]), float(counters["hits"])

    return read_counts
