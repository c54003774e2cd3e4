"""Check the input of a training run before the first step: images seen, and rows read.

check_input(Counter(missing=4), rejected=0, n_rows=4, max_error_rate=0.5)     # raises UserError
"""

import warnings
from collections import Counter
from collections.abc import Iterable

from gen_msa.errors import InputWarning, UserError
from gen_msa.input_notes import InputNotes
from gen_msa.predictors.image_counts import count_unseen, image_line, unseen_rate


def check_input(images: Counter[str], *, rejected: int, n_rows: int, max_error_rate: float) -> None:
    """Announce images and rows that cannot be read, and refuse to train without too many of them.

    Args:
        images: Images of the training posts, by `seen` or reason.
        rejected: Rows of the sources that were rejected.
        n_rows: All rows of the sources.
        max_error_rate: Share of images, or of rows, that may be unreadable, 0 to 1.

    Raises:
        UserError: More of them are.
    """
    problems = {
        f"training posts: {image_line(images)}": (
            unseen_rate(images),
            "correct the paths of the images: they are relative to the folder of the source",
        ),
        f"training posts: {rejected:,} of {n_rows:,} rows rejected": (
            rejected / n_rows if n_rows else 0.0,
            "gen-msa convert SOURCE OUT.jsonl lists the rows with their reasons",
        ),
    }
    for problem, (rate, hint) in problems.items():
        if rate > max_error_rate:
            raise UserError(problem, hint=f"{hint}; to train all the same: max_error_rate=1")
        if rate:
            warnings.warn(problem, InputWarning, stacklevel=3)


def count_unused(
    notes: Iterable[InputNotes], *, rejected: int, images: Counter[str]
) -> Counter[str]:
    """Count what of the training data was not used, by kind.

    Args:
        notes: The notes on each source.
        rejected: Rows of the sources that were rejected.
        images: Images of the training posts, by `seen` or reason.

    Returns:
        Kind (`row`, `image`, `column`, `label`, …) -> number; nothing where all was used.
    """
    unused = Counter(row=rejected, image=count_unseen(images))
    for source_notes in notes:
        unused += source_notes.unused
    return +unused
