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

from gen_msa.jsonl import atomic_write
from gen_msa.report.cards import build_card
from gen_msa.report.style import pluralize
from gen_msa.report.summary import GOLD, OpinionSummary
from gen_msa.report.thumbnails import DrawThumbnail, ThumbnailStore
from gen_msa.types import Example, Polarity

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "page", _HERE / "evaluation" / "page")
_CHUNK = 1 << 16


@cache
def environment() -> Environment:
    """The templates of the room: autoescaped, and an unknown name is an error."""
    env = Environment(
        loader=FunctionLoader(_template_source), autoescape=True, undefined=StrictUndefined
    )
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


def write_html(
    examples: Iterable[Example],
    path: Path,
    *,
    title: str,
    media_root: Path,
    facts: Mapping[str, str],
    limit: int = 5000,
    draw: DrawThumbnail | None = None,
) -> int:
    """Write the report and return how many posts it shows (at most `limit`).

    All examples are counted in the header; when there are more than `limit`, the page says so.
    `facts` (reader, prompt@hash, data hash, …) stand at the top in their order. `draw` makes a
    data URL from a picture below `media_root`; the default goes through `media`. The file appears
    under its name only when it is complete.
    """
    summary, thumbnails = OpinionSummary(), ThumbnailStore(media_root, draw)
    env = environment()
    card = env.get_template("card.html.jinja")
    with TemporaryFile("w+", encoding="utf-8", errors="replace", newline="") as cards:
        for example in examples:
            summary.add(example)
            if summary.posts <= limit:
                cards.write(card.render(card=build_card(example, summary.posts, thumbnails)))
        cards.seek(0)
        n_shown = min(summary.posts, limit)
        page = env.get_template("page.html.jinja").generate(
            cards=read_chunks(cards),
            title=title,
            facts=facts,
            shown=n_shown,
            summary=summary,
            gold=GOLD,
            **page_assets("page.css", "card.css", script="page.js"),
        )
        with atomic_write(path) as out:
            for piece in page:
                out.write(piece.encode("utf-8", "replace"))
    return n_shown
