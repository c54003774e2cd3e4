"""Run a student as one ONNX graph, from the folder that `gen-msa export --onnx` wrote.

    onnx.json       precision, versions, and the differences from the student at export
    model.onnx      the graph, for any number of rows and steps
    student.json, tokenizer.json        as in the student's own folder

An int8 graph scales each tensor as a whole, so other rows of a batch would change the answer: it
gets one row at a time. No file outside the folder is opened, and torch is not needed.

    load_onnx_student(Path("students/text/student-int8")).predict_probabilities(rows)
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy

from gen_msa import manifest, settings
from gen_msa.errors import MissingExtra, UserError, user_errors
from gen_msa.models.base import AspectExample
from gen_msa.models.inference.serialization import StudentConfig, load_config
from gen_msa.models.inputs.collator import Array, ArrayCollator, similar_length_batches
from gen_msa.preemption import preemption_point

METADATA_FILE = "onnx.json"
GRAPH_FILE = "model.onnx"
_HINT = "export it again with gen-msa export DIR --onnx"


class OnnxMetadata(settings.Settings):
    """Content of `onnx.json`."""

    precision: Literal["float32", "int8"]
    opset: int
    package_versions: dict[str, str]
    """Package -> version."""
    student_revision: str
    """SHA-256 of the manifest of the exported folder."""
    rows_compared: int
    """Rows given to both graph and student."""
    lengths: tuple[int, int]
    """Tokens of the shortest and the longest of these rows."""
    batches: tuple[int, ...]
    """Batch sizes of the comparison."""
    max_logit_diff: float
    """Largest difference of a logit between graph and student."""
    max_probability_diff: float
    """Largest difference of a probability."""
    agreement: float
    """Share of rows with the same label."""


@dataclass(frozen=True)
class OnnxStudent:
    """A student's graph, ready to predict."""

    config: StudentConfig
    metadata: OnnxMetadata
    collator: ArrayCollator
    session: Any
    revision: str
    """SHA-256 of the folder's manifest, and so of all its files."""

    def logits(self, rows: Sequence[AspectExample]) -> Array:
        """Compute the logits of all rows in one batch.

        Args:
            rows: Rows to classify.

        Returns:
            (rows, classes).
        """
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
        self,
        rows: Sequence[AspectExample],
        *,
        batch_size: int = 64,
        max_tokens: int | None = None,
    ) -> list[list[float]]:
        """Predict the probability of each class for each row; NaN where its logits are not finite.

        Rows of similar length share a batch; rows of an int8 graph are predicted one by one.

        Args:
            rows: Rows to classify.
            batch_size: Most rows in a batch.
            max_tokens: Most tokens in a batch, padding included, unless one row has more.

        Returns:
            Probabilities of the classes per row, in the order of `rows`.
        """
        if self.metadata.precision == "int8":
            batch_size = 1
        lengths = [self.collator.length(r) for r in rows]
        results: list[list[float]] = [[]] * len(rows)
        for indices in similar_length_batches(lengths, batch_size, max_tokens):
            preemption_point()
            probs = softmax(self.logits([rows[i] for i in indices])).tolist()
            for i, row in zip(indices, probs, strict=True):
                results[i] = row
        return results


def load_onnx_student(folder: Path) -> OnnxStudent:
    """Load the graph of a sealed folder.

    Args:
        folder: Folder written by the export.

    Raises:
        UserError: The folder has changed since it was sealed, or is not an exported student.
        MissingExtra: onnxruntime is missing.
    """
    config, tokenizer = load_config(folder, _HINT)
    with user_errors(folder, "has no exported student", hint=_HINT):
        metadata = OnnxMetadata.model_validate_json((folder / METADATA_FILE).read_bytes())
    collator = array_collator_for(tokenizer, config)
    session = open_session(folder / GRAPH_FILE)
    _check_names(folder, session, collator)
    return OnnxStudent(
        config, metadata, collator, session, manifest.sha256(folder / manifest.MANIFEST_NAME)
    )


def array_collator_for(tokenizer: str, config: StudentConfig) -> ArrayCollator:
    """Build the collator of a saved student, without torch.

    Args:
        tokenizer: Content of the student's `tokenizer.json`.
        config: Configuration of the student.

    Returns:
        The collator, with the options that the student was trained with.
    """
    return ArrayCollator(
        tokenizer,
        max_length=config.max_length,
        mask_labels=config.mask_labels,
        widths={m: n for m, n in config.width.items() if m != "text"},
        append_context=bool(config.cues) and "context" not in config.width,
    )


def open_session(path: Path) -> Any:
    """Open a graph on the CPU, with as many threads as `OMP_NUM_THREADS` says.

    Raises:
        UserError: The file is not a graph.
        MissingExtra: onnxruntime is missing.
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
    # Threads that spin while waiting take CPU time from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    with user_errors(path, "is not a readable ONNX graph", hint=_HINT):
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def softmax(logits: Array) -> Array:
    """Return probabilities in float64; a row with a logit that is not finite becomes NaN.

    Args:
        logits: (rows, classes).
    """
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
        raise UserError(f"{folder / GRAPH_FILE} is the graph of another model", hint=_HINT)
