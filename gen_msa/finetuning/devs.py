"""The dev sources of a run: read from disk once, at the start, the same posts every time.

Shown as training shows them. Knows nothing of models or figures.

    dev_posts(recipe)[0].examples        # each with the gold opinions it is compared with
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gen_msa import prompting
from gen_msa.data.splits import is_test_split
from gen_msa.errors import UserError
from gen_msa.finetuning.recipe import FinetuneData, FinetuneRecipe
from gen_msa.finetuning.rows import load_examples, inference_for_source
from gen_msa.prompting import Prompt
from gen_msa.readers import PredictorSettings
from gen_msa.types import OVERALL_ASPECT, Example


@dataclass(frozen=True)
class DevSet:
    """One dev source, read from disk and ready to be asked about."""

    data: FinetuneData
    prompt: Prompt
    inference: PredictorSettings
    media_root: Path
    examples: tuple[Example, ...]
    """Each with the gold opinions that the prompt can be compared with, and no others."""
    rejected_rows: int
    """Rows of the source that could not be read."""
    sha256: str
    """Over posts and gold labels: which data a figure was made on."""


def load_dev_sets(recipe: FinetuneRecipe) -> tuple[DevSet, ...]:
    """The recipe's dev sources, of each at most `dev_limit` posts, always the same ones.

    Raises `UserError` for a test split, a prompt that gives the label away, and a source without a
    label to compare with.
    """
    return tuple(_load_dev_set(data, recipe) for data in recipe.dev)


def _load_dev_set(data: FinetuneData, recipe: FinetuneRecipe) -> DevSet:
    if is_test_split(data.source):
        raise UserError(f"{data.source}: a test split is never read while tuning")
    prompt = prompting.load_prompt(data.prompt)
    if prompt.takes_label:
        raise UserError(
            f"dev source {data.source}: {data.prompt} is given the label, so it cannot be judged",
            hint="use reader/full there; it is judged by label and reason",
        )
    limits = [n for n in (data.limit, recipe.dev_limit) if n is not None]
    limited_data = data.model_copy(update={"limit": min(limits, default=None)})
    candidates, rejected, media_root = load_examples(limited_data, recipe.seed)
    labeled_examples = tuple(e for e in (_with_gold(x, data.labels, prompt) for x in candidates) if e.opinions)
    if not labeled_examples:
        raise UserError(
            f"dev source {data.source}: no label by {data.labels} to compare {data.prompt} with",
            hint="posts labelled as a whole are asked with reader/overall",
        )
    settings = inference_for_source(data, recipe).model_copy(update=_prompt_settings(prompt, data.prompt))
    return DevSet(data, prompt, settings, media_root, labeled_examples, len(rejected), _data_sha256(labeled_examples))


def _prompt_settings(prompt: Prompt, name: str) -> dict[str, str]:
    """The reader's settings that ask `prompt` and nothing else."""
    return {
        "aspect": {"aspects": "given", "prompt": name},
        "aspects": {"aspects": "reader", "aspects_prompt": name},
        "overall": {"aspects": "overall", "overall_prompt": name},
    }[prompt.task]


def _with_gold(example: Example, annotator: str, prompt: Prompt) -> Example:
    """The example with the opinions of `by` on what `prompt` is asked about."""
    whole_post = prompt.task == "overall"
    gold_opinions = [o for o in example.opinions_by(annotator) if o.polarity and (o.aspect == OVERALL_ASPECT) == whole_post]
    if prompt.task == "aspect":
        gold_opinions = [o for o in gold_opinions if o.aspect in example.post.aspects]
    return Example(post=example.post, opinions=tuple(gold_opinions))


def _data_sha256(labeled_examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for e in labeled_examples:
        digest.update(e.post.model_dump_json().encode())
        digest.update(
            str([(o.aspect.term, o.aspect.start, o.polarity) for o in e.opinions]).encode()
        )
    return digest.hexdigest()
