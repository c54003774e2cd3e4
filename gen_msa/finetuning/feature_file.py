"""Stores the vision features of a row in one safetensors file.

The output of a vision tower (tensor, tuple, list or a transformers output) becomes plain tensors
and a structure in JSON, from which it is rebuilt; tensors that are not stored become zeros of their
shape that take no memory. Every file carries a hash of its contents.

    structure, tensors = flatten_output(output)
    write_features(path, VisionFeatures(structure, dict(enumerate(tensors)), {}, {}))
    features = read_features(path)
    unflatten_output(features.structure, features.tensors, classes)
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

OutputStructure = dict[str, Any]
_VERSION = "1"


class CorruptFeatureFile(Exception):
    """The file is truncated, was changed, or is of another version."""


@dataclass(frozen=True)
class VisionFeatures:
    """The tensors of one row, on the CPU."""

    structure: OutputStructure
    """Structure of the tower's output, with the sizes of all its tensors."""
    tensors: dict[int, torch.Tensor]
    """Stored tensors, by their number in the structure."""
    constant_inputs: dict[str, OutputStructure]
    """Inputs given by shape, dtype and one fill value."""
    stored_inputs: dict[str, torch.Tensor]
    """Inputs stored as they are."""

    def placeholder_inputs(self) -> dict[str, torch.Tensor]:
        """Return the model's image inputs; pixels are ones of their shape, which take no memory."""
        placeholders = {k: _constant_tensor(v, v["value"]) for k, v in self.constant_inputs.items()}
        return {**placeholders, **self.stored_inputs}


def flatten_output(output: Any) -> tuple[OutputStructure, list[torch.Tensor]]:
    """Return the structure of a tower's output, and its tensors in order.

    Raises:
        TypeError: If the output holds anything but tensors, lists and plain values.
    """
    tensors: list[torch.Tensor] = []
    return _structure_of(output, tensors), tensors


def unflatten_output(
    structure: OutputStructure,
    tensors: Mapping[int, torch.Tensor],
    classes: Mapping[str, Any],
    device: Any = None,
) -> Any:
    """Rebuild an output; tensors that are not in `tensors` are zeros of their size.

    Args:
        structure: As `flatten_output` returns it.
        tensors: Tensors by their number.
        classes: The output classes that a structure may name.
        device: Device of the zeros.

    Returns:
        The output, of the classes, tuples and lists that it had before `flatten_output`.

    Raises:
        KeyError: If the structure names another class.
    """
    kind = structure["is"]
    if kind == "tensor":
        stored = tensors.get(structure["number"])
        return _constant_tensor(structure, 0, device) if stored is None else stored
    if kind == "plain":
        return structure["value"]
    if kind == "output":
        items = structure["of"].items()
        parts = {k: unflatten_output(v, tensors, classes, device) for k, v in items}
        return classes[structure["class"]](**parts)
    values = [unflatten_output(v, tensors, classes, device) for v in structure["of"]]
    return tuple(values) if kind == "tuple" else values


def concat_structures(structures: Sequence[OutputStructure]) -> OutputStructure:
    """Return the structure of several rows' outputs, concatenated.

    Raises:
        ValueError: If they do not fit.
    """
    first_structure = structures[0]
    if any(f["is"] != first_structure["is"] for f in structures):
        raise ValueError("the tower's outputs are of different kinds")
    if first_structure["is"] == "tensor":
        shapes = [f["shape"] for f in structures]
        if any(s[1:] != shapes[0][1:] for s in shapes):
            raise ValueError(f"the tower's outputs do not fit end to end: {shapes}")
        return {**first_structure, "shape": [sum(s[0] for s in shapes), *shapes[0][1:]]}
    if first_structure["is"] == "plain":
        return first_structure
    names = (
        list(first_structure["of"])
        if first_structure["is"] == "output"
        else range(len(first_structure["of"]))
    )
    if any(len(f["of"]) != len(names) for f in structures):
        raise ValueError("the tower's outputs have different parts")
    parts = {k: concat_structures([f["of"][k] for f in structures]) for k in names}
    return {
        **first_structure,
        "of": parts if first_structure["is"] == "output" else list(parts.values()),
    }


def split_inputs(
    tensors: Mapping[str, torch.Tensor],
) -> tuple[dict[str, OutputStructure], dict[str, torch.Tensor]]:
    """Split inputs into those given by shape, dtype and one value, and those stored as they are.

    Pixels are given as ones: some families take an image of zeros for padding. Masks mostly have
    one value, and are large.

    Args:
        tensors: Name -> image input of any shape.

    Returns:
        Name -> shape, dtype and value of the inputs given by these; name -> tensor of the others.
    """
    constant: dict[str, OutputStructure] = {}
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        pixels = tensor.is_floating_point()
        value = 1.0 if pixels or not tensor.numel() else tensor.flatten()[0].item()
        if pixels or (tensor.numel() > 1 and bool((tensor == value).all())):
            constant[name] = {
                "shape": list(tensor.shape),
                "dtype": _dtype_name(tensor),
                "value": value,
            }
        else:
            stored[name] = tensor
    return constant, stored


def write_features(path: Path, features: VisionFeatures) -> None:
    """Write a file atomically; several processes may write the same file.

    Args:
        path: The file, whose folder is created if needed.
        features: What to store; tensors on another device are copied to the CPU.
    """
    tensors = {f"output.{k}": v for k, v in features.tensors.items()}
    tensors |= {f"input.{k}": v for k, v in features.stored_inputs.items()}
    # A file must not hold a tensor's memory twice, nor a view of a larger one.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    header = {"version": _VERSION, "form": features.structure, "sizes": features.constant_inputs}
    text = json.dumps(header, sort_keys=True)
    # One entry: several would be written in an order that changes from run to run.
    metadata = {"features": f"{_content_hash(text, tensors)} {text}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    temp_path = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part")
    try:
        save_file(tensors, temp_path, metadata)
        temp_path.replace(path)
    finally:
        temp_path.unlink(missing_ok=True)


def read_features(path: Path, *, check: bool = True) -> VisionFeatures:
    """Read the features of a file.

    Args:
        path: The file.
        check: Whether to hash its contents.

    Returns:
        The features, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        CorruptFeatureFile: If it cannot be used.
    """
    try:
        # In one go: safe_open opens a path twice, and another process may replace it in between.
        data = path.read_bytes()
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        expected_hash, _, text = metadata["features"].partition(" ")
        header = json.loads(text)
        version, structure, constant = header["version"], header["form"], header["sizes"]
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError) as e:
        raise CorruptFeatureFile(f"{path}: {e}") from None
    if version != _VERSION:
        raise CorruptFeatureFile(f"{path} is of version {version!r}")
    if check and _content_hash(text, tensors) != expected_hash:
        raise CorruptFeatureFile(f"{path}: its contents are not what was written")
    outputs = {int(k[7:]): v for k, v in tensors.items() if k.startswith("output.")}
    stored = {k[6:]: v for k, v in tensors.items() if k.startswith("input.")}
    return VisionFeatures(structure, outputs, constant, stored)


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the sha256 over names, dtypes, shapes and bytes of tensors, in the order of names.

    Args:
        tensors: Name -> tensor of any shape, on any device.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def feature_file_stats(folder: Path) -> Iterator[os.stat_result]:
    """Yield the `stat` of every feature file in a folder."""
    for path in folder.glob("*/*.safetensors"):
        try:
            yield path.stat()
        except FileNotFoundError:  # another process has just replaced it
            continue


def _content_hash(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return hashlib.sha256(f"{text}\n{hash_tensors(tensors)}".encode()).hexdigest()


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _constant_tensor(structure: OutputStructure, value: Any, device: Any = None) -> torch.Tensor:
    scalar = torch.full((), value, dtype=getattr(torch, structure["dtype"]), device=device)
    return scalar.expand(structure["shape"])


def _structure_of(output: Any, tensors: list[torch.Tensor]) -> OutputStructure:
    if isinstance(output, torch.Tensor) and output.dim():
        tensors.append(output)
        size = {"shape": list(output.shape), "dtype": _dtype_name(output)}
        return {"is": "tensor", "number": len(tensors) - 1, **size}
    if output is None or isinstance(output, bool | int | float | str):
        return {"is": "plain", "value": output}
    if isinstance(output, Mapping):
        parts = {k: _structure_of(v, tensors) for k, v in output.items()}
        return {"is": "output", "class": type(output).__name__, "of": parts}
    if isinstance(output, tuple | list):
        kind = "tuple" if isinstance(output, tuple) else "list"
        return {"is": kind, "of": [_structure_of(v, tensors) for v in output]}
    raise TypeError(f"a vision tower that gives {type(output).__name__} cannot be cached")
