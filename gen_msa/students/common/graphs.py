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
from gen_msa.students.base import Row
from gen_msa.students.common.arrays import Arranger, Array
from gen_msa.students.common.keeping import Kept, sealed

NAME = "onnx.json"
GRAPH = "model.onnx"
_MEND = "export it again with gen-msa export DIR --onnx"


class Facts(settings.Settings):
    """What `onnx.json` says."""

    precision: Literal["float32", "int8"]
    opset: int
    made_with: dict[str, str]
    """Package -> version."""
    student_revision: str
    """sha256 of the manifest of the folder that was exported."""
    probed: int
    """Rows that both were asked."""
    lengths: tuple[int, int]
    """Tokens of the shortest and the longest of them."""
    batches: tuple[int, ...]
    """Numbers of rows read together."""
    logits_off: float
    """Largest difference of a logit between the graph and the student."""
    probability_off: float
    """Largest difference of a probability."""
    agreement: float
    """Share of the rows on which both say the same label."""


@dataclass(frozen=True)
class Graph:
    """A student's graph, ready to read."""

    kept: Kept
    facts: Facts
    arranger: Arranger
    session: Any
    revision: str
    """sha256 of the folder's manifest: of every byte of it."""

    def logits(self, rows: Sequence[Row]) -> Array:
        """(rows, classes), all read together."""
        found = self.arranger.arrays(rows)
        fed = {f"x_{k}": v for k, v in found.x.items()}
        fed |= {f"mask_{k}": v for k, v in found.mask.items()}
        fed |= {f"present_{k}": v for k, v in found.present.items()}
        wanted = {i.name for i in self.session.get_inputs()}
        logits: Array = self.session.run(["logits"], {k: v for k, v in fed.items() if k in wanted})[
            0
        ]
        return logits

    def probabilities(self, rows: Sequence[Row], *, together: int = 64) -> list[list[float]]:
        """For each row the probability of each class; NaN where its logits are not finite.

        Rows of like length are read together, at most `together`; those of an int8 graph alone.
        """
        if self.facts.precision == "int8":
            together = 1
        lengths = [self.arranger.length(r) for r in rows]
        order = sorted(range(len(rows)), key=lambda i: lengths[i])
        found: list[list[float]] = [[]] * len(rows)
        for at in range(0, len(order), together):
            some = order[at : at + together]
            shares = softmax(self.logits([rows[i] for i in some])).tolist()
            for i, row in zip(some, shares, strict=True):
                found[i] = row
        return found


def open_graph(folder: Path) -> Graph:
    """The graph of a sealed folder.

    Raises `UserError` for a folder that is not as it was sealed or holds another thing, and
    `MissingExtra` without onnxruntime.
    """
    kept, tokenizer = sealed(folder, _MEND)
    try:
        facts = Facts.model_validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError) as e:
        why = jsonl.reason_of(e) if isinstance(e, ValidationError) else e
        raise UserError(f"{folder} holds no exported student: {why}", mend=_MEND) from None
    arranger = arranged(tokenizer, kept)
    session = open_session(folder / GRAPH)
    _check_names(folder, session, arranger)
    return Graph(kept, facts, arranger, session, manifest.sha256(folder / manifest.NAME))


def arranged(tokenizer: str, kept: Kept) -> Arranger:
    """The arranger of a kept student."""
    return Arranger(
        tokenizer,
        max_length=kept.max_length,
        mask_labels=kept.mask_labels,
        widths={m: n for m, n in kept.width.items() if m != "text"},
        joined=bool(kept.cues) and "context" not in kept.width,
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
        said = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(f"{path} cannot be opened as a graph: {said}", mend=_MEND) from None


def softmax(logits: Array) -> Array:
    """Probabilities in float64; a row with a logit that is no finite number is NaN throughout."""
    wide = logits.astype(numpy.float64)
    wide[~numpy.isfinite(wide).all(1)] = numpy.nan
    raised = numpy.exp(wide - wide.max(1, keepdims=True))
    shares: Array = raised / raised.sum(1, keepdims=True)
    return shares


def _check_names(folder: Path, session: Any, arranger: Arranger) -> None:
    modalities = {"text", *arranger.widths}
    known = {f"{of}_{m}" for of in ("x", "mask", "present") for m in modalities} | {"mask_aspect"}
    asks = {i.name for i in session.get_inputs()}
    if not asks <= known or [o.name for o in session.get_outputs()] != ["logits"]:
        raise UserError(f"{folder / GRAPH} is the graph of something else", mend=_MEND)
