"""What is raced: models, rows, our levers one by one, and TRL's own settings.

with models("mams", "") as model: specs("mams", model, options)
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

SAME = (
    "output_dir=unused",
    "lora_rank=16",
    "lora_dropout=0",
    "learning_rate=2e-4",
    "device=cpu",
    "per_device_train_batch_size=4",
)
"""Of both sides, in every trial."""

LOW = ("dtype=bfloat16", "bf16=true")
"""Frozen weights and matrix products in bfloat16, LoRA and its optimiser in float32."""

DATA = {
    "mams": '[{source: "mams:train", prompt: reader/brief, reasons: cue, limit: %d}]',
    "mams_full": '[{source: "mams:train", prompt: reader/full, reasons: cue, limit: %d}]',
    "mvsa": '[{source: "mvsa_single:train", prompt: reader/brief_overall, reasons: cue,'
    " cues: {}, limit: %d}]",
    "quick": "[{source: tiny, prompt: reader/brief, cues: {}, pictures: false, limit: %d}]",
}

LEVERS = {
    "labelled_head off": ("levers.labelled_head=false",),
    "branches off": ("levers.branches=false",),
    "bucketing off": ("levers.bucketing=false",),
    "prefetch off": ("levers.prefetch=0",),
    "attention sdpa": ("attn_implementation=sdpa",),
    "dropout 0.05": ("lora_dropout=0.05",),
    "all levers off": (
        "levers.labelled_head=false",
        "levers.branches=false",
        "levers.bucketing=false",
        "levers.prefetch=0",
        "levers.feature_cache=",
    ),
}

PADDED: dict[str, dict[str, Any]] = {
    "TRL, padded": {},
    "TRL, padded, 4 rows at a time": {"per_device_train_batch_size": 4},
    "TRL, padded, head on answers as with Triton": {"head": "labelled"},
}
"""Rows of like length together, with as many updates a lap as ours."""
FLAT: dict[str, dict[str, Any]] = {
    "TRL, padding-free, 4 rows at a time": {"padding_free": True, "per_device_train_batch_size": 4},
    "TRL, packed to 512 tokens": {
        "packing": True,
        "max_length": 512,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
    },
}
"""Not to be had with pictures."""


@contextlib.contextmanager
def models(trial: str, given: str) -> Iterator[str]:
    """The model of a trial, made where it must be."""
    if given or trial == "mvsa":
        yield given or "builtin"
        return
    with tempfile.TemporaryDirectory() as folder:
        _words(Path(folder), small=trial in ("losses", "quick"))
        yield folder


def _words(folder: Path, *, small: bool) -> None:
    """SmolLM2-135M as a plain folder; `small`: random, two thin layers, the same vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from gen_msa.builtin import assembly

    model, tokenizer = assembly.load_gguf(builtin.weights_files()[0])
    if small:
        torch.manual_seed(0)
        told = model.config.to_dict() | {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
        }
        model = LlamaForCausalLM(LlamaConfig(**told))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def specs(trial: str, model: str, options: argparse.Namespace) -> list[Spec]:
    """Everyone in a race; the first is gen_msa with all levers on."""
    laps = options.laps + 1  # the first is not counted
    shared = (
        f"model_name_or_path={model}",
        f"data={DATA[trial] % options.posts}",
        f"seed={options.seed}",
        *SAME,
        *LOW,
        "attn_implementation=eager",
    )
    pictured = trial == "mvsa"
    cached = ("levers.feature_cache=auto",) if pictured else ()
    found = [Spec("gen_msa", "ours", (*shared, *cached), laps)]
    levers = LEVERS | ({"feature_cache off": ("levers.feature_cache=",)} if pictured else {})
    for name, changed in levers.items():
        if not (pictured and name == "branches off"):  # one row a post
            found.append(Spec(f"{name}", "ours", (*shared, *cached, *changed), laps))
    wide = (*shared, "attn_implementation=sdpa")
    peers = PADDED | ({} if pictured else FLAT)
    if not theirs.missing():
        found += [Spec(n, "theirs", shared, laps, dict(o)) for n, o in peers.items()]
        found.append(Spec("TRL, padded, sdpa", "theirs", wide, laps))
    wanted = [w for w in options.only.split("|") if w]
    others = [s for s in found[1:] if not wanted or any(w in s.name for w in wanted)]
    return [replace(found[0], laps=1 + options.laps * len(others)), *others]


def alike(model: str, folder: Path, options: argparse.Namespace) -> list[Spec]:
    """Both sides on the same batches: posts of two aspects, no shuffling, float32, token mean."""
    posts = folder / "two.jsonl"
    two = (
        e
        for e in open_examples("mams:train").rows()
        if isinstance(e, Example) and len(e.post.aspects) == 2
    )
    lines = [e.model_dump_json() for e in itertools.islice(two, 200)]
    posts.write_text("\n".join(lines) + "\n", "utf-8")
    recipe = (
        f"model_name_or_path={model}",
        f'data=[{{source: "{posts}", prompt: reader/brief, reasons: cue}}]',
        f"seed={options.seed}",
        *SAME,
        "learning_rate=5e-3",
        "dtype=float32",
        "loss.reduction=token",
    )
    own: dict[str, Any] = {"train_sampling_strategy": "sequential", "logging_steps": 1}
    return [Spec("gen_msa", "ours", recipe, 1), Spec("TRL", "theirs", recipe, 1, own)]
