"""The model card of an adapter: README.md with its figures, and figures.json beside it.

Says what it is, how to read with it, what it was trained on, its figures with all that a figure is
printed with, and what it does not know. The words stand in `card.jinja`. Holds no path of this
machine and no word of a post.

    write(Path("adapters/tiny/adapter"), Facts(recipe=…, base="tiny", learned=(…), figures={…}, …))
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from gen_msa import __version__, jsonl
from gen_msa.errors import UserError
from gen_msa.finetuning.recipe import Recipe

_TEMPLATE = Path(__file__).with_suffix(".jinja")
_ELSEWHERE = {"model_name_or_path", "output_dir", "data", "dev", "reading", "report_to"} | {
    "resume",
    "device",
}
"""Settings that the card does not repeat: said in words, in `reading.json`, or of the machine."""
_TAGS = ["gen_msa", "sentiment-analysis", "aspect-based-sentiment-analysis", "explanations"]
_FOLDERS = re.compile(r"[^:\s]*[/\\]")


@dataclass(frozen=True)
class Learned:
    """One training source as it was learned."""

    source: str
    prompt: str
    """`name@hash`."""
    labels: str
    reasons: str
    """Where the reasons came from; `""`: they are those of the label's own opinion."""
    posts: int
    rows: int
    left_out: int = 0


@dataclass(frozen=True)
class Facts:
    """What a card is made of."""

    recipe: Recipe
    base: str
    """The base model: a hub name, `builtin`, or a folder, of which only the last name is said."""
    base_hash: str
    learned: Sequence[Learned]
    figures: Mapping[str, Any] | None
    """`Judgement.as_json` of the checkpoint that was kept; None when there was no dev source."""
    step: int
    """Optimiser steps that made what was kept."""
    parameters: int
    """Numbers that were trained."""
    license: str = ""
    """SPDX name in lower case; empty: not said in the front matter."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Goes into figures.json as it is."""


def write(folder: Path, facts: Facts) -> None:
    """Write `README.md` and `figures.json`; each appears whole or not at all.

    Raises `UserError` when they cannot be written.
    """
    for name, text in (("figures.json", figures(facts)), ("README.md", card(facts))):
        try:
            with jsonl.whole(folder / name) as f:
                f.write(text.encode())
        except OSError as e:
            raise UserError(
                f"{folder / name} cannot be written: {e.strerror or e}",
                mend="make room, or choose another output_dir",
            ) from None


def figures(facts: Facts) -> str:
    """`figures.json`: every figure with n, interval, seed, prompt hash and data hash."""
    facts = _public(facts)
    told = {
        "gen_msa": __version__,
        "base": facts.base,
        "base_hash": facts.base_hash,
        "seed": facts.recipe.seed,
        "step": facts.step,
        "learned": [asdict(s) for s in facts.learned],
        "dev": facts.figures,
        **facts.more,
    }
    return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def card(facts: Facts) -> str:
    """The card as Markdown with YAML front matter, called as the run's output folder."""
    facts = _public(facts)
    r, judged = facts.recipe, facts.figures or {}
    name = Path(r.output_dir).name
    quantised = "" if r.quantization == "none" else f" (base quantised to {r.quantization})"
    eyes = ["projector"] * r.train_projector + ["vision tower"] * r.train_vision
    known = "/" in facts.base
    return str(
        _template().render(
            front=_front(facts, name),
            name=name,
            kind=("LoRA adapter" if r.finetuning_type == "lora" else "fine-tuned model")
            + quantised,
            base=facts.base,
            reader="builtin:DIR"
            if facts.base == "builtin"
            else f"transformers:{facts.base if known else 'BASE'}@DIR",
            base_hash=facts.base_hash,
            version=__version__,
            step=facts.step,
            parameters=facts.parameters,
            trained=", ".join(["language model", *eyes]),
            seed=r.seed,
            learned=facts.learned,
            sources=judged.get("sources", ()),
            figures_step=f"{judged.get('step', 0):,}",
            figures_seed=judged.get("seed"),
            borrowed=any(s.reasons for s in facts.learned),
            frozen_eyes=not eyes,
            settings=_settings(r),
        )
    )


def _front(facts: Facts, name: str) -> str:
    """The front matter as the hub knows it. A base that only lies in a folder is not named."""
    from huggingface_hub import ModelCardData

    lora = facts.recipe.finetuning_type == "lora"
    results = _results(facts)
    data = ModelCardData(
        base_model=facts.base if "/" in facts.base else None,
        library_name="peft" if lora else "transformers",
        license=facts.license or None,
        model_name=name if results else None,
        eval_results=results or None,
        tags=[*_TAGS, *(["lora"] if lora else [])],
    )
    return str(data.to_yaml())


def _results(facts: Facts) -> list[Any]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-classification",
            task_name="aspect sentiment, generated and parsed",
            dataset_type=s["source"].partition(":")[0],
            dataset_name=s["source"],
            dataset_split=s["source"].partition(":")[2] or None,
            metric_type=metric,
            metric_value=round(s[key], 4),
            metric_args=options,
        )
        for s in (facts.figures or {}).get("sources", ())
        for metric, key, options in (
            ("accuracy", "accuracy", None),
            ("f1", "macro_f1", {"average": "macro"}),
        )
    ]


def _settings(recipe: Recipe) -> str:
    tree = recipe.model_dump(mode="json", exclude=_ELSEWHERE)
    tree["levers"]["feature_cache"] = bool(tree["levers"]["feature_cache"])
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _public(facts: Facts) -> Facts:
    """The facts without any folder of this machine."""
    base = facts.base
    owner, slash, _ = base.partition("/")
    hub = base.count("/") == 1 and owner.strip(".~") and slash and not Path(base).exists()
    learned = [replace(s, source=_bare(s.source), reasons=_bare(s.reasons)) for s in facts.learned]
    judged = facts.figures
    if judged is not None:
        sources = [{**s, "source": _bare(s["source"])} for s in judged.get("sources", ())]
        judged = {**judged, "sources": sources}
    return replace(facts, base=base if hub else _bare(base), learned=learned, figures=judged)


def _bare(name: str) -> str:
    """`DATASET:SPLIT` as it is; of a path only its last part."""
    return _FOLDERS.sub("", name.rstrip("/\\"))


def _template() -> Any:
    env = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, and no word of a post
    )
    env.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f}"
    env.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return env.from_string(_TEMPLATE.read_text(encoding="utf-8"))
