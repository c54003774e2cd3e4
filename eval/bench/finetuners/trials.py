"""The trials of the benchmark: models, rows, our optimizations one by one, and TRL's own settings.

with models("mams", "") as model:
    specs("mams", model, options)
"""

import argparse
import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetuners import Spec, theirs
from gen_msa import builtin
from gen_msa.data import open_examples
from gen_msa.types import Example

NAMES = ("losses", "mams", "mams_full", "mvsa")

SHARED_SETTINGS = (
    "output_dir=unused",
    "lora_rank=16",
    "lora_dropout=0",
    "learning_rate=2e-4",
    "device=cpu",
    "per_device_train_batch_size=4",
)
"""For both sides, in every trial."""

BF16 = ("dtype=bfloat16", "bf16=true")
"""Frozen weights and matrix products in bfloat16, LoRA and its optimiser in float32."""

DATA = {
    "mams": '[{source: "mams:train", prompt: predict/brief, rationales: cue, limit: %d}]',
    "mams_full": '[{source: "mams:train", prompt: predict/full, rationales: cue, limit: %d}]',
    "mvsa": '[{source: "mvsa_single:train", prompt: predict/brief_overall, rationales: cue,'
    " cues: {}, limit: %d}]",
    "quick": "[{source: tiny, prompt: predict/brief, cues: {}, images: false, limit: %d}]",
}

OPTIMIZATIONS = {
    "answer_only_head off": ("optimizations.answer_only_head=false",),
    "prefix_packing off": ("optimizations.prefix_packing=false",),
    "bucketing off": ("optimizations.bucketing=false",),
    "prefetch off": ("optimizations.prefetch=0",),
    "attention sdpa": ("attn_implementation=sdpa",),
    "dropout 0.05": ("lora_dropout=0.05",),
    "all optimizations off": (
        "optimizations.answer_only_head=false",
        "optimizations.prefix_packing=false",
        "optimizations.bucketing=false",
        "optimizations.prefetch=0",
        "optimizations.feature_cache=",
    ),
}

TRL_PADDED: dict[str, dict[str, Any]] = {
    "TRL, padded": {},
    "TRL, padded, 4 rows at a time": {"per_device_train_batch_size": 4},
    "TRL, padded, head on answers as with Triton": {"head": "labelled"},
}
"""Rows of similar length together, with as many updates per lap as ours."""
TRL_PACKED: dict[str, dict[str, Any]] = {
    "TRL, padding-free, 4 rows at a time": {"padding_free": True, "per_device_train_batch_size": 4},
    "TRL, packed to 512 tokens": {
        "packing": True,
        "max_length": 512,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
    },
}
"""Not available with images."""


@contextlib.contextmanager
def models(trial: str, folder: str) -> Iterator[str]:
    """Yield the model of a trial, created if necessary.

    Args:
        trial: The name of the trial.
        folder: A model to use instead, or "".
    """
    if folder or trial == "mvsa":
        yield folder or "builtin"
        return
    with tempfile.TemporaryDirectory() as created:
        _save_text_model(Path(created), small=trial in ("losses", "quick"))
        yield created


def _save_text_model(folder: Path, *, small: bool) -> None:
    """Save SmolLM2-135M to a folder; `small`: random, two thin layers, the same vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from gen_msa.builtin import assembly

    model, tokenizer = assembly.load_gguf(builtin.weights_files()[0])
    if small:
        torch.manual_seed(0)
        config = model.config.to_dict() | {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
        }
        model = LlamaForCausalLM(LlamaConfig(**config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def specs(trial: str, model: str, options: argparse.Namespace) -> list[Spec]:
    """Return all contenders of a trial; the first is gen_msa with all optimizations on.

    Args:
        trial: The name of the trial.
        model: Its model.
        options: The command-line options.
    """
    laps = options.laps + 1  # the first is not counted
    shared = (
        f"model_name_or_path={model}",
        f"data={DATA[trial] % options.posts}",
        f"seed={options.seed}",
        *SHARED_SETTINGS,
        *BF16,
        "attn_implementation=eager",
    )
    has_images = trial == "mvsa"
    cached = ("optimizations.feature_cache=auto",) if has_images else ()
    tasks = [Spec("gen_msa", "ours", (*shared, *cached), laps)]
    variants = OPTIMIZATIONS | (
        {"feature_cache off": ("optimizations.feature_cache=",)} if has_images else {}
    )
    for name, changed in variants.items():
        if not (has_images and name == "prefix_packing off"):  # one row a post
            tasks.append(Spec(f"{name}", "ours", (*shared, *cached, *changed), laps))
    sdpa = (*shared, "attn_implementation=sdpa")
    peers = TRL_PADDED | ({} if has_images else TRL_PACKED)
    if not theirs.missing():
        tasks += [Spec(n, "theirs", shared, laps, dict(o)) for n, o in peers.items()]
        tasks.append(Spec("TRL, padded, sdpa", "theirs", sdpa, laps))
    patterns = [p for p in options.only.split("|") if p]
    others = [s for s in tasks[1:] if not patterns or any(p in s.name for p in patterns)]
    return [replace(tasks[0], laps=1 + options.laps * len(others)), *others]


def same_batches(model: str, folder: Path, options: argparse.Namespace) -> list[Spec]:
    """Return both sides on the same batches: no shuffling, float32, token mean.

    Args:
        model: The model.
        folder: Where the posts, with two aspects each, are written.
        options: The command-line options.
    """
    posts = folder / "two.jsonl"
    examples = (
        e
        for e in open_examples("mams:train").rows()
        if isinstance(e, Example) and len(e.post.aspects) == 2
    )
    lines = [e.model_dump_json() for e in itertools.islice(examples, 200)]
    posts.write_text("\n".join(lines) + "\n", "utf-8")
    recipe = (
        f"model_name_or_path={model}",
        f'data=[{{source: "{posts}", prompt: predict/brief, rationales: cue}}]',
        f"seed={options.seed}",
        *SHARED_SETTINGS,
        "learning_rate=5e-3",
        "dtype=float32",
        "loss.reduction=token",
    )
    trl_options: dict[str, Any] = {"train_sampling_strategy": "sequential", "logging_steps": 1}
    return [Spec("gen_msa", "ours", recipe, 1), Spec("TRL", "theirs", recipe, 1, trl_options)]
