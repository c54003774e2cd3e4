"""The dev sources of a run: read from disk once, at the start, the same posts every time.

Shown as training shows them. Knows nothing of models or figures.

    dev_posts(recipe)[0].examples        # each with the gold opinions it is compared with
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gen_msa import prompting
from gen_msa.data.splits import is_test
from gen_msa.errors import UserError
from gen_msa.finetuning.recipe import Data, Recipe
from gen_msa.finetuning.rows import examples, reading_of
from gen_msa.prompting import Prompt
from gen_msa.readers import ReaderSettings
from gen_msa.types import WHOLE_POST, Example


@dataclass(frozen=True)
class Dev:
    """One dev source, read from disk and ready to be asked about."""

    data: Data
    prompt: Prompt
    reading: ReaderSettings
    media_root: Path
    examples: tuple[Example, ...]
    """Each with the gold opinions that the prompt can be compared with, and no others."""
    rejected: int
    """Rows of the source that could not be read."""
    sha256: str
    """Over posts and gold labels: which data a figure was made on."""


def dev_posts(recipe: Recipe) -> tuple[Dev, ...]:
    """The recipe's dev sources, of each at most `dev_limit` posts, always the same ones.

    Raises `UserError` for a test split, a prompt that gives the label away, and a source without a
    label to compare with.
    """
    return tuple(_dev(data, recipe) for data in recipe.dev)


def _dev(data: Data, recipe: Recipe) -> Dev:
    if is_test(data.source):
        raise UserError(f"{data.source}: a test split is never read while tuning")
    prompt = prompting.load(data.prompt)
    if prompt.takes_label:
        raise UserError(
            f"dev source {data.source}: {data.prompt} is given the label, so it cannot be judged",
            mend="use reader/full there; it is judged by label and reason",
        )
    limits = [n for n in (data.limit, recipe.dev_limit) if n is not None]
    limited = data.model_copy(update={"limit": min(limits, default=None)})
    found, bad, root = examples(limited, recipe.seed)
    labelled = tuple(e for e in (_labelled(x, data.labels, prompt) for x in found) if e.opinions)
    if not labelled:
        raise UserError(
            f"dev source {data.source}: no label by {data.labels} to compare {data.prompt} with",
            mend="posts labelled as a whole are asked with reader/overall",
        )
    settings = reading_of(data, recipe).model_copy(update=_asked_by(prompt, data.prompt))
    return Dev(data, prompt, settings, root, labelled, len(bad), _digest(labelled))


def _asked_by(prompt: Prompt, name: str) -> dict[str, str]:
    """The reader's settings that ask `prompt` and nothing else."""
    return {
        "aspect": {"aspects": "given", "prompt": name},
        "aspects": {"aspects": "reader", "aspects_prompt": name},
        "overall": {"aspects": "overall", "overall_prompt": name},
    }[prompt.task]


def _labelled(example: Example, by: str, prompt: Prompt) -> Example:
    """The example with the opinions of `by` on what `prompt` is asked about."""
    whole = prompt.task == "overall"
    said = [o for o in example.said_by(by) if o.polarity and (o.aspect == WHOLE_POST) == whole]
    if prompt.task == "aspect":
        said = [o for o in said if o.aspect in example.post.aspects]
    return Example(post=example.post, opinions=tuple(said))


def _digest(found: Sequence[Example]) -> str:
    total = hashlib.sha256()
    for e in found:
        total.update(e.post.model_dump_json().encode())
        total.update(
            str([(o.aspect.term, o.aspect.start, o.polarity) for o in e.opinions]).encode()
        )
    return total.hexdigest()
