"""What is left to be done of a source: chunks, and of each the posts that the ledger does not know.

Knows nothing of how posts are read.

    for pending, unread in work(source, settings, key(teacher.fingerprint()), book): ...
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from gen_msa import media
from gen_msa.annotating._output import PendingChunk
from gen_msa.annotating._rows import chunks
from gen_msa.annotating._settings import JobSettings
from gen_msa.annotating._teaching import visible_to_teacher
from gen_msa.annotating.shards import Shard
from gen_msa.data import ExampleSource
from gen_msa.ledger import AnswerCache, hash_key
from gen_msa.types import Example

FULL_SOURCE = Shard()


def pending_chunks(
    source: ExampleSource, settings: JobSettings, fingerprint: str, cache: AnswerCache | None, shard: Shard = FULL_SOURCE
) -> Iterator[tuple[PendingChunk, list[Example]]]:
    """Each chunk of the shard with the posts that still have to be read.

    Without a ledger the keys are empty, but for readers on other machines, which compare them.
    """
    for chunk in chunks(source, settings.chunk, settings.limit, settings.model):
        if not shard.owns(chunk.index):
            continue
        visible = [visible_to_teacher(settings, e) for e in chunk.examples]
        if cache is None and settings.engine == "local":
            yield PendingChunk(chunk, [""] * len(visible), {}), visible
            continue
        keys = [cache_key(fingerprint, e, source.media_root, settings) for e in visible]
        cached = cache.get(keys) if cache is not None else {}
        unanswered = [e for e, k in zip(visible, keys, strict=True) if k not in cached]
        yield PendingChunk(chunk, keys, cached), unanswered


def cache_key(fingerprint: str, visible: Example, root: Path, settings: JobSettings) -> str:
    """Changes with the post, its pictures' bytes, and anything that shapes the reader's answer."""
    post = visible.post
    media_digests: list[JsonValue] = [media.digest(m, root, settings.image) for m in post.media]
    parts: dict[str, JsonValue] = {"reader": fingerprint, "post": post.model_dump_json()}
    if visible.opinions:
        parts["gold"] = [o.model_dump_json() for o in visible.opinions]
    return hash_key({**parts, "media": media_digests})
