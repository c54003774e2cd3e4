"""One HTML file with everything: posts, images, opinions, and filters over them.

The page works offline and loads nothing: its content security policy allows its own style and
script by hash, and images as data URLs. Jinja escapes every value; no data is inside a script.
Cards are written to a temporary file while the counts for the header are gathered, so memory does
not grow with the number of posts.

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
from gen_msa.report.cards import DrawThumbnail, ThumbnailStore, build_card
from gen_msa.report.style import pluralize
from gen_msa.report.summary import GOLD, OpinionSummary
from gen_msa.types import Example, Polarity

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "page", _HERE / "evaluation" / "page")
_CHUNK = 1 << 16


@cache
def environment() -> Environment:
    """Return the Jinja environment of the pages: autoescaped, and an unknown name is an error."""
    env = Environment(
        loader=FunctionLoader(_template_source), autoescape=True, undefined=StrictUndefined
    )
    env.filters["n"] = pluralize
    env.globals["polarities"] = [p.value for p in Polarity]
    return env


def read_asset(name: str) -> str:
    """Read a template, style or script of the pages."""
    path = next(folder / name for folder in _FOLDERS if (folder / name).exists())
    return path.read_text("utf-8")


def _template_source(name: str) -> str:
    """Read a template without line breaks: each would be a DOM node in every card."""
    return "".join(line.strip() for line in read_asset(name).splitlines())


def page_assets(*styles: str, script: str) -> dict[str, str]:
    """Return style and script of a page with the hashes that its policy allows.

    Args:
        styles: Names of the style sheets, in order.
        script: Name of the script.
    """
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
    """Return the source expression with which a content security policy allows this code."""
    return f"'sha256-{base64.b64encode(sha256(source.encode()).digest()).decode()}'"


def read_chunks(f: IO[str]) -> Iterator[str]:
    """Yield the rest of a file in chunks."""
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
    """Write the report.

    All examples are counted in the header; when there are more than `limit`, the page says so. The
    file appears under its name only when it is complete.

    Args:
        examples: The posts with opinions.
        path: The file.
        title: Title of the page.
        media_root: Folder that relative media paths start from.
        facts: Facts at the top, in order (model, prompt@hash, data hash, …).
        limit: Maximum number of posts shown.
        draw: Makes a data URL of an image below `media_root`; None: a JPEG thumbnail.

    Returns:
        The number of posts shown.
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
        n_cards = min(summary.posts, limit)
        page = env.get_template("page.html.jinja").generate(
            cards=read_chunks(cards),
            title=title,
            facts=facts,
            n_cards=n_cards,
            summary=summary,
            gold=GOLD,
            **page_assets("page.css", "card.css", script="page.js"),
        )
        with atomic_write(path) as out:
            for piece in page:
                out.write(piece.encode("utf-8", "replace"))
    return n_cards
