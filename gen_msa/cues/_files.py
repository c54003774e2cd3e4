"""JSON files that cues are read from.

Knows nothing of what their entries mean.

    strings(path, load(path))       # {"17.jpg": "A dog"}
"""

import json
from pathlib import Path
from typing import Any

from gen_msa.errors import UserError


def load_json(path: Path) -> Any:
    """The JSON value of a file. Raises `UserError` when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(f"{path} cannot be read as JSON: {e}", hint="check the path") from None


def check_string_map(path: Path, value: Any) -> dict[str, str]:
    """`value`, read from `path`, as a map of strings. Raises `UserError` at the first misfit."""
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no map", hint='write {"picture.jpg": "what it shows"}')
    for key, text in value.items():
        if not isinstance(text, str):
            raise UserError(f"{path}: the entry {key!r} is not a string", hint="write one string")
    return value
