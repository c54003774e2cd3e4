"""What reads for `student:DIR`: the model that was trained, or the graph it was exported to.

Both are asked in the same way and say the same. torch is loaded for the first alone. Knows nothing
of posts.

    mind = open_mind(Path("students/text/student"))
    mind.ask([Row("1", "The soup was good", Aspect(term="soup", start=4))])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gen_msa.errors import MissingExtra
from gen_msa.students import AspectExample

if TYPE_CHECKING:
    from gen_msa.students.common.keeping import StudentConfig

ONNX_FACTS_FILE = "onnx.json"
"""Marks an exported student; listed in its manifest, as every `.json` must be."""


@dataclass(frozen=True)
class Classifier:
    """A student that can be asked."""

    student_config: "StudentConfig"
    revision: str
    """sha256 of the folder's manifest."""
    engine: str
    """`torch`, `onnx` or `onnx int8`."""
    is_truncated: Callable[[AspectExample], bool]
    """Whether a row's text is too long to be seen whole."""
    predict_probs: Callable[[Sequence[AspectExample]], list[list[float]]]
    """Rows -> the probability of each class; NaN where its logits are not finite."""


def load_classifier(folder: Path, *, batch_size: int = 16) -> Classifier:
    """The student of a sealed folder; `together` rows are read at a time.

    Raises `UserError` for a folder that is not as it was sealed, and `MissingExtra` when torch,
    tokenizers or onnxruntime are absent.
    """
    try:
        return _load_onnx(folder, batch_size) if (folder / ONNX_FACTS_FILE).is_file() else _load_torch(folder, batch_size)
    except ModuleNotFoundError as e:
        if e.name not in ("torch", "tokenizers", "transformers"):
            raise
        raise MissingExtra(e.name, "train") from None


def _load_torch(folder: Path, batch_size: int) -> Classifier:
    from gen_msa.students.common.keeping import load_student
    from gen_msa.students.common.reading import predict_probabilities

    loaded = load_student(folder)

    def predict_probs(rows: Sequence[AspectExample]) -> list[list[float]]:
        return predict_probabilities(loaded.student, loaded.collator, rows, batch_size=batch_size)

    return Classifier(loaded.config, loaded.revision, "torch", loaded.collator.is_truncated, predict_probs)


def _load_onnx(folder: Path, batch_size: int) -> Classifier:
    from gen_msa.students.common.graphs import load_onnx_student

    loaded = load_onnx_student(folder)

    def predict_probs(rows: Sequence[AspectExample]) -> list[list[float]]:
        return loaded.predict_probabilities(rows, batch_size=batch_size)

    engine = "onnx int8" if loaded.metadata.precision == "int8" else "onnx"
    return Classifier(loaded.config, loaded.revision, engine, loaded.collator.is_truncated, predict_probs)
