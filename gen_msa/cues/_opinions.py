"""What a reader wrote of posts, from a file of opinions: contexts that `gen-msa annotate` made.

Read is the reader's explanation and nothing else: no label, no probability and nothing of gold's.
Knows nothing of cues.

    table(Path("contexts.jsonl"))["17", WHOLE_POST]     # "The speaker smiles …"
"""

from pathlib import Path

from gen_msa import jsonl
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Rejected

ExplanationTable = dict[tuple[str, Aspect], str]


def load_explanations(path: Path) -> ExplanationTable:
    """(post id, aspect) -> explanation.

    Raises `UserError` for a file that cannot be read, holds a line that is no example, or has more
    than one reader besides gold.
    """
    explanations: ExplanationTable = {}
    annotators: set[str] = set()
    try:
        for row in jsonl.read(path, Example):
            if isinstance(row, Rejected):
                raise UserError(f"{path}, line {row.line}: {row.reason}", hint=row.hint)
            for opinion in row.opinions:
                if opinion.annotator != "gold":
                    annotators.add(opinion.annotator)
                    explanations[row.post.id, opinion.aspect] = (opinion.explanation or "").strip()
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e}", hint="check the path") from None
    if len(annotators) > 1:
        names = ", ".join(sorted(annotators))
        raise UserError(f"{path} holds opinions by {names}", hint="keep one reader's in a file")
    return explanations
