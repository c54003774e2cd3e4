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
from gen_msa.models.base import Batch, Model

OPSET = 18


def export_graph(student: Model, batch: Batch, path: Path) -> None:
    """Write the graph of a student in eval mode; `batch` is an example with two rows or more.

    Inputs are named `inputs_MODALITY`, `mask_MODALITY`, `mask_aspect` and `present_MODALITY`; the one
    output is `logits`. Raises `UserError` for a student that cannot be traced.
    """
    tensors = graph_inputs(batch)
    dynamic = torch.export.Dim.DYNAMIC
    sizes = tuple(
        {0: dynamic} if t.ndim == 1 else {0: dynamic, 1: dynamic} for t in tensors.values()
    )
    try:
        with _quiet():
            program = torch.onnx.export(
                _FlatInputs(student, tuple(tensors)).eval(),
                tuple(tensors.values()),
                dynamo=True,
                input_names=list(tensors),
                output_names=["logits"],
                dynamic_shapes=(sizes,),
                opset_version=OPSET,
            )
            program.save(path)
    except torch.onnx.OnnxExporterError as e:
        message = str(e.__cause__ or e).strip().splitlines()[0]
        raise UserError(f"this student has no ONNX form: {message}") from None
    _drop_value_info(path)


def quantize_int8(source: Path, target: Path) -> None:
    """Matrices in 8 bits, what they are multiplied with scaled as it comes (dynamic quantisation).

    Weights have a scale for each output. They use 7 of the 8 bits, so that no sum overflows on a
    processor without VNNI: the graph says the same everywhere.
    """
    quantization = import_module("onnxruntime.quantization")
    with _quiet():
        quantization.quantize_dynamic(
            source,
            target,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


def graph_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """A batch as the graph's inputs, by name."""
    tensors = {f"inputs_{k}": v for k, v in batch.inputs.items()}
    tensors |= {f"mask_{k}": v for k, v in batch.mask.items()}
    return tensors | {f"present_{k}": v for k, v in batch.present.items()}


class _FlatInputs(torch.nn.Module):  # type: ignore[misc]
    """A student that is given tensors one by one."""

    def __init__(self, student: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.student = student
        self._names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """(rows, classes)."""
        batch_fields: dict[str, dict[str, torch.Tensor]] = {"inputs": {}, "mask": {}, "present": {}}
        for name, tensor in zip(self._names, tensors, strict=True):
            kind, _, modality = name.partition("_")
            batch_fields[kind][modality] = tensor
        batch = Batch(ids=(), **batch_fields, target=None, texts=())
        logits: torch.Tensor = self.student(batch).logits
        return logits


def _drop_value_info(path: Path) -> None:
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
