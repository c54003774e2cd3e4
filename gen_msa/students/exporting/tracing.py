"""A student's forward pass as an ONNX graph, and the same with its matrices in 8 bits.

Rows and steps are free in the graph. Knows nothing of folders.

    trace(student, batch, Path("model.onnx"))
    quantise(Path("model.onnx"), Path("model-int8.onnx"))
"""

import contextlib
import io
import logging
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from gen_msa.errors import UserError
from gen_msa.students.base import Batch, Student

OPSET = 18


def trace(student: Student, batch: Batch, path: Path) -> None:
    """Write the graph of a student in eval mode; `batch` is an example with two rows or more.

    Inputs are named `x_MODALITY`, `mask_MODALITY`, `mask_aspect` and `present_MODALITY`; the one
    output is `logits`. Raises `UserError` for a student that cannot be traced.
    """
    named = inputs(batch)
    free = torch.export.Dim.DYNAMIC
    sizes = tuple({0: free} if t.ndim == 1 else {0: free, 1: free} for t in named.values())
    try:
        with _quiet():
            program = torch.onnx.export(
                _Flat(student, tuple(named)).eval(),
                tuple(named.values()),
                dynamo=True,
                input_names=list(named),
                output_names=["logits"],
                dynamic_shapes=(sizes,),
                opset_version=OPSET,
            )
            program.save(path)
    except torch.onnx.OnnxExporterError as e:
        said = str(e.__cause__ or e).strip().splitlines()[0]
        raise UserError(f"this student has no ONNX form: {said}") from None
    _forget_shapes(path)


def quantise(source: Path, target: Path) -> None:
    """Matrices in 8 bits, what they are multiplied with scaled as it comes (dynamic quantisation).

    Weights have a scale for each output. They use 7 of the 8 bits, so that no sum overflows on a
    processor without VNNI: the graph says the same everywhere.
    """
    tool = import_module("onnxruntime.quantization")
    with _quiet():
        tool.quantize_dynamic(
            source, target, weight_type=tool.QuantType.QInt8, per_channel=True, reduce_range=True
        )


def inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """A batch as the graph's inputs, by name."""
    named = {f"x_{k}": v for k, v in batch.x.items()}
    named |= {f"mask_{k}": v for k, v in batch.mask.items()}
    return named | {f"present_{k}": v for k, v in batch.present.items()}


class _Flat(torch.nn.Module):  # type: ignore[misc]
    """A student that is given tensors one by one."""

    def __init__(self, student: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.student = student
        self._names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """(rows, classes)."""
        parts: dict[str, dict[str, torch.Tensor]] = {"x": {}, "mask": {}, "present": {}}
        for name, tensor in zip(self._names, tensors, strict=True):
            of, _, modality = name.partition("_")
            parts[of][modality] = tensor
        batch = Batch(ids=(), **parts, target=None, raw_text=())
        logits: torch.Tensor = self.student(batch).logits
        return logits


def _forget_shapes(path: Path) -> None:
    """Leave out the shapes noted of what lies between: the quantiser finds them anew, and better.

    They are those before the exporter's last rewriting, which transposes some.
    """
    import onnx

    graph = onnx.load(path)
    graph.graph.ClearField("value_info")
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


@contextlib.contextmanager
def _quiet() -> Any:
    """Neither the exporter's progress nor its warnings: what comes of it is checked."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
