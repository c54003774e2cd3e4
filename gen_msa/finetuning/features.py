"""What a vision tower said about a row's pictures: plain tensors in one safetensors file.

An output (tensor, tuple, list or one of transformers' outputs) becomes plain tensors and a form in
JSON, from which it is put together again; tensors that are not kept come back as zeros of their
shape that take no memory. Every file carries the hash of its own contents. Knows no model.

    write(path, Features.of(output, inputs, kept=[True]))
    read(path).output(classes)
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

Form = dict[str, Any]
_VERSION = "1"


class Spoilt(Exception):
    """The file is cut short, was altered, or is of another version."""


@dataclass(frozen=True)
class Features:
    """The tensors of one row, on the CPU."""

    form: Form
    """How the tower's output is put together, and the sizes of all its tensors."""
    tensors: dict[int, torch.Tensor]
    """Those that are kept, by their number in the form."""
    sizes: dict[str, Form]
    """Inputs that are told by shape, dtype and one value that fills them."""
    inputs: dict[str, torch.Tensor]
    """Inputs that are kept as they are."""

    def standing_in(self) -> dict[str, torch.Tensor]:
        """The model's picture inputs; pixels are ones of the right shape, which take no memory."""
        made = {k: _filled(v, v["value"]) for k, v in self.sizes.items()}
        return {**made, **self.inputs}


def taken_apart(output: Any) -> tuple[Form, list[torch.Tensor]]:
    """The form of a tower's output and its tensors in order.

    Raises TypeError for an output that holds anything but tensors, lists and plain values.
    """
    found: list[torch.Tensor] = []
    return _form(output, found), found


def put_together(
    form: Form, tensors: Mapping[int, torch.Tensor], classes: Mapping[str, Any], device: Any = None
) -> Any:
    """The output of a form; tensors that are not among `tensors` are zeros of their size.

    `classes` are the output classes a form may name. Raises KeyError for another.
    """
    kind = form["is"]
    if kind == "tensor":
        known = tensors.get(form["number"])
        return _filled(form, 0, device) if known is None else known
    if kind == "plain":
        return form["value"]
    if kind == "output":
        of = form["of"].items()
        parts = {k: put_together(v, tensors, classes, device) for k, v in of}
        return classes[form["class"]](**parts)
    made = [put_together(v, tensors, classes, device) for v in form["of"]]
    return tuple(made) if kind == "tuple" else made


def joined(forms: Sequence[Form]) -> Form:
    """The form of several rows' outputs end to end. Raises ValueError if they do not fit."""
    first = forms[0]
    if any(f["is"] != first["is"] for f in forms):
        raise ValueError("the tower's outputs are of different kinds")
    if first["is"] == "tensor":
        shapes = [f["shape"] for f in forms]
        if any(s[1:] != shapes[0][1:] for s in shapes):
            raise ValueError(f"the tower's outputs do not fit end to end: {shapes}")
        return {**first, "shape": [sum(s[0] for s in shapes), *shapes[0][1:]]}
    if first["is"] == "plain":
        return first
    names = list(first["of"]) if first["is"] == "output" else range(len(first["of"]))
    if any(len(f["of"]) != len(names) for f in forms):
        raise ValueError("the tower's outputs have different parts")
    parts = {k: joined([f["of"][k] for f in forms]) for k in names}
    return {**first, "of": parts if first["is"] == "output" else list(parts.values())}


def told(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, Form], dict[str, torch.Tensor]]:
    """Inputs told by shape, dtype and one value, and those that are kept as they are.

    Pixels are told as ones: some families take a picture of zeros for padding. Masks are mostly of
    one value, and large.
    """
    sizes: dict[str, Form] = {}
    kept: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        pixels = tensor.is_floating_point()
        value = 1.0 if pixels or not tensor.numel() else tensor.flatten()[0].item()
        if pixels or (tensor.numel() > 1 and bool((tensor == value).all())):
            sizes[name] = {"shape": list(tensor.shape), "dtype": _name(tensor), "value": value}
        else:
            kept[name] = tensor
    return sizes, kept


def write(path: Path, features: Features) -> None:
    """Write the file whole or not at all; another process that does the same is no harm."""
    tensors = {f"output.{k}": v for k, v in features.tensors.items()}
    tensors |= {f"input.{k}": v for k, v in features.inputs.items()}
    # A file must not hold a tensor's memory twice, nor a view of a larger one.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    told = {"version": _VERSION, "form": features.form, "sizes": features.sizes}
    text = json.dumps(told, sort_keys=True)
    # One entry: several would be written in an order that changes from run to run.
    metadata = {"features": f"{_hash(text, tensors)} {text}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part")
    try:
        save_file(tensors, draft, metadata)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path, *, check: bool = True) -> Features:
    """The features of a file. Raises FileNotFoundError, and `Spoilt` for a file not to be used.

    `check` hashes all of its contents.
    """
    try:
        # In one go: safe_open opens a path twice, and another process may replace it in between.
        data = path.read_bytes()
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        written, _, text = metadata["features"].partition(" ")
        told = json.loads(text)
        version, form, sizes = told["version"], told["form"], told["sizes"]
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError) as e:
        raise Spoilt(f"{path}: {e}") from None
    if version != _VERSION:
        raise Spoilt(f"{path} is of version {version!r}")
    if check and _hash(text, tensors) != written:
        raise Spoilt(f"{path}: its contents are not what was written")
    outputs = {int(k[7:]): v for k, v in tensors.items() if k.startswith("output.")}
    inputs = {k[6:]: v for k, v in tensors.items() if k.startswith("input.")}
    return Features(form, outputs, sizes, inputs)


def hashed(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex sha256 over names, dtypes, shapes and bytes of tensors, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        total.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\n".encode())
        total.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def files(folder: Path) -> Iterator[os.stat_result]:
    """Facts of every file of features in a folder."""
    for path in folder.glob("*/*.safetensors"):
        try:
            yield path.stat()
        except FileNotFoundError:  # another process has just replaced it
            continue


def _hash(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return hashlib.sha256(f"{text}\n{hashed(tensors)}".encode()).hexdigest()


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _filled(form: Form, value: Any, device: Any = None) -> torch.Tensor:
    one = torch.full((), value, dtype=getattr(torch, form["dtype"]), device=device)
    return one.expand(form["shape"])


def _form(output: Any, found: list[torch.Tensor]) -> Form:
    if isinstance(output, torch.Tensor) and output.dim():
        found.append(output)
        size = {"shape": list(output.shape), "dtype": _name(output)}
        return {"is": "tensor", "number": len(found) - 1, **size}
    if output is None or isinstance(output, bool | int | float | str):
        return {"is": "plain", "value": output}
    if isinstance(output, Mapping):
        parts = {k: _form(v, found) for k, v in output.items()}
        return {"is": "output", "class": type(output).__name__, "of": parts}
    if isinstance(output, tuple | list):
        kind = "tuple" if isinstance(output, tuple) else "list"
        return {"is": kind, "of": [_form(v, found) for v in output]}
    raise TypeError(f"a vision tower that gives {type(output).__name__} cannot be remembered")
