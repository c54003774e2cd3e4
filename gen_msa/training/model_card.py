"""Model cards: the README.md and metrics.json beside trained weights.

Both loops fill a Jinja template of their own. A card holds no folder of this machine, no time and
no text of a post: the same run writes the same bytes.

    files = {"metrics.json": to_json(metrics), "README.md": render(template, name="mine")}
    write_files(folder, files)
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from gen_msa import jsonl
from gen_msa.errors import write_errors

_FOLDER_PREFIX = re.compile(r"(?<![^:\s])[^:\s]*[/\\]")


def without_folder(name: str) -> str:
    """Return `DATASET:SPLIT` as it is, and of a path only its last part."""
    return _FOLDER_PREFIX.sub("", name.rstrip("/\\"))


def to_json(metrics: Mapping[str, Any]) -> str:
    """Return metrics as the text of `metrics.json`; a number that is not finite is an error."""
    return json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_yaml(settings: Mapping[str, Any]) -> str:
    """Return settings as YAML, in their order."""
    return str(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))


def render(template: Path, **values: Any) -> str:
    """Render a card.

    Args:
        template: A Jinja file; `percent` and `cell` (of a Markdown table) are filters in it.
        values: Its variables; a missing one is an error.

    Returns:
        The text of the card, in Markdown.
    """
    env = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, and no text of a post
    )
    env.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f}"
    env.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return env.from_string(template.read_text(encoding="utf-8")).render(**values)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write text files; each appears completely or not at all.

    Args:
        folder: Where they are written.
        files: Name -> text.

    Raises:
        UserError: When one cannot be written.
    """
    for name, text in files.items():
        hint = "choose another output_dir"
        with (
            write_errors(folder / name, hint=hint),
            jsonl.atomic_write(folder / name) as f,
        ):
            f.write(text.encode())
