"""What is left to be done of a source: chunks, and of each the posts that the ledger does not know.

Knows nothing of how posts are read.

    for pending, unread in work(source, settings, key(teacher.fingerprint()), book): ...
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from gen_msa import media
from gen_msa.annotating._output import Pending
from gen_msa.annotating._rows import chunks
from gen_msa.annotating._settings import JobSettings
from gen_msa.annotating._teaching import shown_to
from gen_msa.annotating.shards import Shard
from gen_msa.data import Source
from gen_msa.ledger import Ledger, key
from gen_msa.types import Example

WHOLE = Shard()


def work(
    source: Source, settings: JobSettings, reader: str, book: Ledger | None, shard: Shard = WHOLE
) -> Iterator[tuple[Pending, list[Example]]]:
    """Each chunk of the shard with the posts that still have to be read.

    Without a ledger the keys are empty, but for readers on other machines, which compare them.
    """
    for chunk in chunks(source, settings.chunk, settings.limit, settings.reader):
        if not shard.owns(chunk.index):
            continue
        shown = [shown_to(settings, e) for e in chunk.examples]
        if book is None and settings.engine == "local":
            yield Pending(chunk, [""] * len(shown), {}), shown
            continue
        keys = [key_of(reader, e, source.media_root, settings) for e in shown]
        known = book.get(keys) if book is not None else {}
        unread = [e for e, k in zip(shown, keys, strict=True) if k not in known]
        yield Pending(chunk, keys, known), unread


def key_of(reader: str, shown: Example, root: Path, settings: JobSettings) -> str:
    """Changes with the post, its pictures' bytes, and anything that shapes the reader's answer."""
    post = shown.post
    pictures: list[JsonValue] = [media.digest(m, root, settings.picture) for m in post.media]
    parts: dict[str, JsonValue] = {"reader": reader, "post": post.model_dump_json()}
    if shown.opinions:
        parts["gold"] = [o.model_dump_json() for o in shown.opinions]
    return key({**parts, "media": pictures})
