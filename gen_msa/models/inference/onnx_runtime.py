"""A student as one ONNX graph, run by onnxruntime: the folder that `gen-msa export --onnx` wrote.

    onnx.json       precision, versions, and how near the graph was to the student when it was made
    model.onnx      the graph: rows and steps may be of any number
    student.json, tokenizer.json        as in the student's own folder

A graph of 8-bit numbers scales each tensor as a whole, so a row's neighbours would change its
answer: it reads one row at a time. Nothing outside the folder is opened. Knows nothing of how a
graph is made; needs no torch of its own.

    open_graph(Path("students/text/student-int8")).probabilities(rows)
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy
from pydantic import ValidationError

from gen_msa import jsonl, manifest, settings
from gen_msa.errors import MissingExtra, UserError
from gen_msa.models.base import AspectExample
from gen_msa.models.inference.serialization import StudentConfig, load_config
from gen_msa.models.inputs.collator import Array, ArrayCollator

METADATA_FILE = "onnx.json"
GRAPH_FILE = "model.onnx"
_HINT = "export it again with gen-msa export DIR --onnx"


class OnnxMetadata(settings.Settings):
    """What `onnx.json` says."""

    precision: Literal["float32", "int8"]
    opset: int
    package_versions: dict[str, str]
    """Package -> version."""
    student_revision: str
    """sha256 of the manifest of the folder that was exported."""
    rows_compared: int
    """Rows that both were asked."""
    lengths: tuple[int, int]
    """Tokens of the shortest and the longest of them."""
    batches: tuple[int, ...]
    """Numbers of rows read together."""
    max_logit_diff: float
    """Largest difference of a logit between the graph and the student."""
    max_probability_diff: float
    """Largest difference of a probability."""
    agreement: float
    """Share of the rows on which both say the same label."""


@dataclass(frozen=True)
class OnnxStudent:
    """A student's graph, ready to read."""

    config: StudentConfig
    metadata: OnnxMetadata
    collator: ArrayCollator
    session: Any
    revision: str
    """sha256 of the folder's manifest: of every byte of it."""

    def logits(self, rows: Sequence[AspectExample]) -> Array:
        """(rows, classes), all read together."""
        arrays = self.collator.collate(rows)
        feeds = {f"inputs_{k}": v for k, v in arrays.inputs.items()}
        feeds |= {f"mask_{k}": v for k, v in arrays.mask.items()}
        feeds |= {f"present_{k}": v for k, v in arrays.present.items()}
        input_names = {i.name for i in self.session.get_inputs()}
        logits: Array = self.session.run(
            ["logits"], {k: v for k, v in feeds.items() if k in input_names}
        )[0]
        return logits

    def predict_probabilities(
        self, rows: Sequence[AspectExample], *, batch_size: int = 64
    ) -> list[list[float]]:
        """For each row the probability of each class; NaN where its logits are not finite.

        Rows of like length are read together, at most `together`; those of an int8 graph alone.
        """
        if self.metadata.precision == "int8":
            batch_size = 1
        lengths = [self.collator.length(r) for r in rows]
        order = sorted(range(len(rows)), key=lambda i: lengths[i])
        results: list[list[float]] = [[]] * len(rows)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            probs = softmax(self.logits([rows[i] for i in indices])).tolist()
            for i, row in zip(indices, probs, strict=True):
                results[i] = row
        return results


def load_onnx_student(folder: Path) -> OnnxStudent:
    """The graph of a sealed folder.

    Raises `UserError` for a folder that is not as it was sealed or holds another thing, and
    `MissingExtra` without onnxruntime.
    """
    config, tokenizer = load_config(folder, _HINT)
    try:
        metadata = OnnxMetadata.model_validate_json((folder / METADATA_FILE).read_bytes())
    except (OSError, ValidationError) as e:
        reason = jsonl.format_validation_error(e) if isinstance(e, ValidationError) else e
        raise UserError(f"{folder} holds no exported student: {reason}", hint=_HINT) from None
    collator = array_collator_for(tokenizer, config)
    session = open_session(folder / GRAPH_FILE)
    _check_names(folder, session, collator)
    return OnnxStudent(
        config, metadata, collator, session, manifest.sha256(folder / manifest.MANIFEST_NAME)
    )


def array_collator_for(tokenizer: str, config: StudentConfig) -> ArrayCollator:
    """The arranger of a kept student."""
    return ArrayCollator(
        tokenizer,
        max_length=config.max_length,
        mask_labels=config.mask_labels,
        widths={m: n for m, n in config.width.items() if m != "text"},
        append_context=bool(config.cues) and "context" not in config.width,
    )


def open_session(path: Path) -> Any:
    """The graph in a file, on the CPU, with as many threads as `OMP_NUM_THREADS` says.

    Raises `UserError` for a file that is no graph, and `MissingExtra` without onnxruntime.
    """
    try:
        onnxruntime = import_module("onnxruntime")
    except ModuleNotFoundError as e:
        if e.name != "onnxruntime":
            raise
        raise MissingExtra("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    # Threads that wait by turning round take the time of whoever reads beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # the library's errors share no narrower base
        message = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(f"{path} cannot be opened as a graph: {message}", hint=_HINT) from None


def softmax(logits: Array) -> Array:
    """Probabilities in float64; a row with a logit that is no finite number is NaN throughout."""
    logits64 = logits.astype(numpy.float64)
    logits64[~numpy.isfinite(logits64).all(1)] = numpy.nan
    exps = numpy.exp(logits64 - logits64.max(1, keepdims=True))
    probs: Array = exps / exps.sum(1, keepdims=True)
    return probs


def _check_names(folder: Path, session: Any, collator: ArrayCollator) -> None:
    modalities = {"text", *collator.widths}
    allowed = {f"{kind}_{m}" for kind in ("inputs", "mask", "present") for m in modalities} | {
        "mask_aspect"
    }
    input_names = {i.name for i in session.get_inputs()}
    if not input_names <= allowed or [o.name for o in session.get_outputs()] != ["logits"]:
        raise UserError(f"{folder / GRAPH_FILE} is the graph of something else", hint=_HINT)
