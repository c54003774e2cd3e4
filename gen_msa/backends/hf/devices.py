"""Which device and which precision a model runs in.

device = resolve_device("auto")
"""

from typing import Any

import torch


def resolve_device(name: str) -> str:
    """Resolve `auto` to CUDA, else MPS, else the CPU; return any other name as it is."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_dtype(name: str, device: str) -> Any:
    """Resolve a dtype: `auto` is float32 on a CPU, the same on every machine, else the file's own.

    Args:
        name: `auto` or the name of a torch dtype.
        device: Device from `resolve_device`.

    Returns:
        A torch dtype, or `auto`.
    """
    if name != "auto":
        return getattr(torch, name)
    return torch.float32 if device == "cpu" else "auto"
