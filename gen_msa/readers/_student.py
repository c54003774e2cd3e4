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
from gen_msa.students import Row

if TYPE_CHECKING:
    from gen_msa.students.common.keeping import Kept

ONNX = "onnx.json"
"""Marks an exported student; listed in its manifest, as every `.json` must be."""


@dataclass(frozen=True)
class Mind:
    """A student that can be asked."""

    kept: "Kept"
    revision: str
    """sha256 of the folder's manifest."""
    engine: str
    """`torch`, `onnx` or `onnx int8`."""
    cut: Callable[[Row], bool]
    """Whether a row's text is too long to be seen whole."""
    ask: Callable[[Sequence[Row]], list[list[float]]]
    """Rows -> the probability of each class; NaN where its logits are not finite."""


def open_mind(folder: Path, *, together: int = 16) -> Mind:
    """The student of a sealed folder; `together` rows are read at a time.

    Raises `UserError` for a folder that is not as it was sealed, and `MissingExtra` when torch,
    tokenizers or onnxruntime are absent.
    """
    try:
        return _graph(folder, together) if (folder / ONNX).is_file() else _model(folder, together)
    except ModuleNotFoundError as e:
        if e.name not in ("torch", "tokenizers", "transformers"):
            raise
        raise MissingExtra(e.name, "train") from None


def _model(folder: Path, together: int) -> Mind:
    from gen_msa.students.common.keeping import open_student
    from gen_msa.students.common.reading import probabilities

    o = open_student(folder)

    def ask(rows: Sequence[Row]) -> list[list[float]]:
        return probabilities(o.student, o.collate, rows, together=together)

    return Mind(o.kept, o.revision, "torch", o.collate.cut, ask)


def _graph(folder: Path, together: int) -> Mind:
    from gen_msa.students.common.graphs import open_graph

    g = open_graph(folder)

    def ask(rows: Sequence[Row]) -> list[list[float]]:
        return g.probabilities(rows, together=together)

    engine = "onnx int8" if g.facts.precision == "int8" else "onnx"
    return Mind(g.kept, g.revision, engine, g.arranger.cut, ask)
