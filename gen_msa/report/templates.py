"""What every page of the room is drawn with: its templates, and the hashes that its policy names.

Jinja escapes every value; a page's style and script are allowed by hash, so that nothing else runs.
Knows nothing of what the pages show.

    environment().get_template("card.html.jinja").render(card=card)
    allowed("p { margin: 0 }")      # "'sha256-…'": for a content security policy
"""

import base64
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO

from jinja2 import Environment, FunctionLoader, StrictUndefined

from gen_msa.report.visible import pluralize
from gen_msa.types import Polarity

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "page", _HERE / "evaluation" / "page")
_CHUNK = 1 << 16


@cache
def environment() -> Environment:
    """The templates of the room: autoescaped, and an unknown name is an error."""
    env = Environment(loader=FunctionLoader(_template_source), autoescape=True, undefined=StrictUndefined)
    env.filters["n"] = pluralize
    env.globals["polarities"] = [p.value for p in Polarity]
    return env


def read_asset(name: str) -> str:
    """The text of a template, style or script of the room."""
    path = next(folder / name for folder in _FOLDERS if (folder / name).exists())
    return path.read_text("utf-8")


def _template_source(name: str) -> str:
    """A template without its line breaks: each would be a node of its own in every card."""
    return "".join(line.strip() for line in read_asset(name).splitlines())


def page_assets(*styles: str, script: str) -> dict[str, str]:
    """Style and script of a page, and the hashes under which its policy allows them."""
    style = "".join(read_asset(name) for name in styles)
    # A style attribute would need a laxer policy: the width of a bar is one class a percentage.
    style += "".join(f".n{i}{{--n:{i}%}}.u{i}{{--u:{i}%}}" for i in range(101))
    text = read_asset(script)
    return {
        "style": style,
        "style_hash": csp_hash(style),
        "script": text,
        "script_hash": csp_hash(text),
    }


def csp_hash(source: str) -> str:
    """The source expression by which a content security policy allows exactly this code."""
    return f"'sha256-{base64.b64encode(sha256(source.encode()).digest()).decode()}'"


def read_chunks(f: IO[str]) -> Iterator[str]:
    """The rest of a file, piece by piece."""
    return iter(lambda: f.read(_CHUNK), "")
