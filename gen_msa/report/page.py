"""One HTML file that holds everything: posts, pictures, opinions and the filters over them.

The page works offline and asks for nothing: its content security policy allows its own style and
script by hash, and pictures as data URLs. Jinja escapes every value; no data is inside a script.
Knows nothing of readers. Cards go to a temporary file while the counts for the header are gathered,
so memory does not grow with the posts.

    write_html(examples, Path("report.html"), title="Phones", media_root=Path("posts"), facts={})
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from jinja2 import Environment, FunctionLoader, StrictUndefined

from gen_msa.jsonl import whole
from gen_msa.report.album import Album, Draw
from gen_msa.report.cards import card_of
from gen_msa.report.groups import GOLD
from gen_msa.report.summary import Summary
from gen_msa.report.visible import counted
from gen_msa.types import Example, Polarity

_ASSETS = Path(__file__).parent / "page"
_CHUNK = 1 << 16


def write_html(
    examples: Iterable[Example],
    path: Path,
    *,
    title: str,
    media_root: Path,
    facts: Mapping[str, str],
    limit: int = 5000,
    draw: Draw | None = None,
) -> int:
    """Write the report and return how many posts it shows (at most `limit`).

    All examples are counted in the header; when there are more than `limit`, the page says so.
    `facts` (reader, prompt@hash, data hash, …) stand at the top in their order. `draw` makes a
    data URL from a picture below `media_root`; the default goes through `media`. The file appears
    under its name only when it is complete.
    """
    summary, album = Summary(), Album(media_root, draw)
    env = _environment()
    card = env.get_template("card.html.jinja")
    with TemporaryFile("w+", encoding="utf-8", errors="replace", newline="") as cards:
        for example in examples:
            summary.add(example)
            if summary.posts <= limit:
                cards.write(card.render(card=card_of(example, summary.posts, album)))
        cards.seek(0)
        shown = min(summary.posts, limit)
        page = env.get_template("page.html.jinja").generate(
            cards=_chunks(cards), title=title, facts=facts, shown=shown, **_header(summary)
        )
        with whole(path) as out:
            for piece in page:
                out.write(piece.encode("utf-8", "replace"))
    return shown


@cache
def _environment() -> Environment:
    env = Environment(loader=FunctionLoader(_joined), autoescape=True, undefined=StrictUndefined)
    env.filters["n"] = counted
    env.globals["polarities"] = [p.value for p in Polarity]
    return env


def _joined(name: str) -> str:
    """A template without its line breaks: each would be a node of its own in every card."""
    return "".join(line.strip() for line in (_ASSETS / name).read_text("utf-8").splitlines())


def _header(summary: Summary) -> dict[str, object]:
    style = (_ASSETS / "page.css").read_text("utf-8") + (_ASSETS / "card.css").read_text("utf-8")
    # A style attribute would need a laxer policy: the width of a bar is one class a percentage.
    style += "".join(f".n{i}{{--n:{i}%}}.u{i}{{--u:{i}%}}" for i in range(101))
    script = (_ASSETS / "page.js").read_text("utf-8")
    return {
        "summary": summary,
        "gold": GOLD,
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
    }


def _hash(code: str) -> str:
    """The source expression by which a content security policy allows exactly this code."""
    return f"'sha256-{base64.b64encode(sha256(code.encode()).digest()).decode()}'"


def _chunks(f: IO[str]) -> Iterator[str]:
    return iter(lambda: f.read(_CHUNK), "")
