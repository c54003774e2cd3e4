"""One HTML file that holds everything: posts, pictures, opinions and the filters over them.

The page works offline and asks for nothing: its content security policy allows its own style and
script by hash, and pictures as data URLs. Jinja escapes every value; no data is inside a script.
Knows nothing of readers. Cards go to a temporary file while the counts for the header are gathered,
so memory does not grow with the posts.

    write_html(examples, Path("report.html"), title="Phones", media_root=Path("posts"), facts={})
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryFile

from gen_msa.jsonl import atomic_write
from gen_msa.report.album import ThumbnailStore, DrawThumbnail
from gen_msa.report.cards import build_card
from gen_msa.report.groups import GOLD
from gen_msa.report.summary import OpinionSummary
from gen_msa.report.templates import read_chunks, page_assets, environment
from gen_msa.types import Example


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
