"""Trace the forward pass of a student as an ONNX graph, and quantize its matrices to int8.

Numbers of rows and steps are free in the graph.

    export_graph(student, batch, Path("model.onnx"))
    quantize_int8(Path("model.onnx"), Path("model-int8.onnx"))
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
    """Write the graph of a student.

    Inputs are named `inputs_MODALITY`, `mask_MODALITY`, `mask_aspect` and `present_MODALITY`; the
    only output is `logits`.

    Args:
        student: Model in evaluation mode.
        batch: Example with two rows or more.
        path: ONNX file to write.

    Raises:
        UserError: The student cannot be traced.
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
        raise UserError(f"this student cannot be exported to ONNX: {message}") from None
    _drop_value_info(path)


def quantize_int8(source: Path, target: Path) -> None:
    """Quantize matrices to int8, with activations scaled at run time (dynamic quantization).

    Weights have a scale per output channel and use 7 of 8 bits, so that no sum overflows on a
    processor without VNNI: the graph gives the same answers everywhere.

    Args:
        source: ONNX file in float32.
        target: ONNX file to write.
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
    """Return the tensors of a batch by the names of the graph's inputs."""
    tensors = {f"inputs_{k}": v for k, v in batch.inputs.items()}
    tensors |= {f"mask_{k}": v for k, v in batch.mask.items()}
    return tensors | {f"present_{k}": v for k, v in batch.present.items()}


class _FlatInputs(torch.nn.Module):  # type: ignore[misc]
    """Module that takes the tensors of a batch as separate arguments."""

    def __init__(self, student: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.student = student
        self._names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return logits, (rows, classes)."""
        batch_fields: dict[str, dict[str, torch.Tensor]] = {"inputs": {}, "mask": {}, "present": {}}
        for name, tensor in zip(self._names, tensors, strict=True):
            kind, _, modality = name.partition("_")
            batch_fields[kind][modality] = tensor
        batch = Batch(ids=(), **batch_fields, target=None, texts=())
        logits: torch.Tensor = self.student(batch).logits
        return logits


def _drop_value_info(path: Path) -> None:
    """Remove the recorded shapes of intermediate tensors.

    They precede the exporter's last rewriting, which transposes some tensors; the quantizer infers
    them correctly itself.
    """
    import onnx

    graph = onnx.load(path)
    graph.graph.ClearField("value_info")
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


@contextlib.contextmanager
def _quiet() -> Any:
    """Silence the exporter's progress and warnings; its result is verified anyway."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
