"""What a reader wrote of posts, from a file of opinions: contexts that `gen-msa annotate` made.

Read is the reader's explanation and nothing else: no label, no probability and nothing of gold's.
Knows nothing of cues.

    table(Path("contexts.jsonl"))["17", WHOLE_POST]     # "The speaker smiles …"
"""

from pathlib import Path

from gen_msa import jsonl
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Rejected

Table = dict[tuple[str, Aspect], str]


def table(path: Path) -> Table:
    """(post id, aspect) -> explanation.

    Raises `UserError` for a file that cannot be read, holds a line that is no example, or has more
    than one reader besides gold.
    """
    told: Table = {}
    readers: set[str] = set()
    try:
        for row in jsonl.read(path, Example):
            if isinstance(row, Rejected):
                raise UserError(f"{path}, line {row.line}: {row.reason}", mend=row.mend)
            for opinion in row.opinions:
                if opinion.by != "gold":
                    readers.add(opinion.by)
                    told[row.post.id, opinion.aspect] = (opinion.explanation or "").strip()
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e}", mend="check the path") from None
    if len(readers) > 1:
        known = ", ".join(sorted(readers))
        raise UserError(f"{path} holds opinions by {known}", mend="keep one reader's in a file")
    return told
