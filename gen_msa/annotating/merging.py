"""Parts of one sharded job become the files that one job would have written, byte for byte.

Nothing is asked and no model is loaded. Gates that look at the whole file do so here. Refused is
whatever does not belong together, with the file's name: other posts, another reader, prompt or
setting, a shard that is missing, there twice, or did not finish.

    merge([Path("opinions.1-of-2.part"), Path("opinions.2-of-2.part")], Path("opinions.jsonl"))
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gen_msa import jsonl
from gen_msa import settings as settings_files
from gen_msa.annotating._ending import Outcome, ended, rejects_of, sieve_of
from gen_msa.annotating._output import Counts, Output
from gen_msa.annotating._parts import Footer, chunks_of, footer_of
from gen_msa.annotating._rows import Chunk
from gen_msa.annotating._settings import RUN, AnnotateSettings, JobSettings
from gen_msa.errors import UserError
from gen_msa.readers import Reading

Part = tuple[Path, Footer]
_KINDS: dict[str, type[JobSettings]] = {"explain": JobSettings, "annotate": AnnotateSettings}


def merge(
    paths: Sequence[Path],
    out: Path,
    *,
    lines: Path | None = None,
    on_progress: Callable[[Counts], None] = lambda _: None,
) -> tuple[Outcome, JobSettings]:
    """Write `out` (JSONL) of the parts of every shard, in any order; also the job's settings.

    `lines` takes the examples where `out` is to become another format.
    Raises `UserError` before anything is written when the parts do not make up one job.
    """
    parts = _together(paths)
    path, first = parts[0]
    settings = settings_files.build(_KINDS[first.verb], first.settings, str(path))
    sieve = sieve_of(settings, Path(first.media_root))
    with jsonl.whole(lines or out) as good, jsonl.whole(rejects_of(out)) as bad:
        output = Output(first.data, good, bad, sieve)
        for chunk, readings in _in_order(parts):
            output.write(chunk, readings)
            on_progress(output.counts)
    output.counts.repeated = sum(f.repeated for _, f in parts)
    seconds = sum(f.seconds for _, f in parts)
    return ended(output, settings, out, first.data, first.reader, seconds), settings


def _together(paths: Sequence[Path]) -> list[Part]:
    """The parts by shard. Raises `UserError` unless they are all parts of one job, each once."""
    if not paths:
        raise UserError("no parts to merge", mend="name the files that --shard wrote: OUT.*.part")
    first, *others = parts = [(p, footer_of(p)) for p in paths]
    for other in others:
        _same_job(first, other)
    found: dict[int, Path] = {}
    for path, footer in parts:
        if footer.shard in found:
            raise UserError(
                f"{found[footer.shard]} and {path} are both shard {footer.shard}/{footer.of}",
                mend="name the part of each shard once",
            )
        found[footer.shard] = path
    of = first[1].of
    if missing := [i for i in range(1, of + 1) if i not in found]:
        which = ", ".join(f"{i}/{of}" for i in missing[:10])
        raise UserError(
            f"no part of shard {which}{' …' if len(missing) > 10 else ''}",
            mend="a shard writes its part when it has finished: name it, or run the same command "
            f"with --shard {missing[0]}/{of} again; what it answered is kept in its ledger",
        )
    return sorted(parts, key=lambda part: part[1].shard)


def _same_job(first: Part, other: Part) -> None:
    """Raise `UserError` naming what two parts do not share."""
    (a, x), (b, y) = first, other
    of = (x.of, y.of, f"{x.of} shards and {y.of}", "answers pass to another sharding by --known")
    data = (
        (x.data_sha256, x.rows, x.chunks),
        (y.data_sha256, y.rows, y.chunks),
        f"other posts, of {x.data} and of {y.data}",
        "run the shards of the older posts again",
    )
    mine, yours = _deciding(x), _deciding(y)
    where = ", ".join(_differing(mine, yours))
    asked = (mine, yours, f"other answers: {where}", "run the older shards again as the newer")
    for left, right, what, mend in (of, data, asked):
        if left != right:
            raise UserError(f"{a} and {b} are not of one job: {what}", mend=mend)


def _deciding(footer: Footer) -> dict[str, Any]:
    """What decides the answers and which of them are kept."""
    settings = {k: v for k, v in footer.settings.items() if k not in RUN}
    return {"verb": footer.verb, "reader": footer.reader, "settings": settings}


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The dotted names under which two trees differ."""
    for name in sorted({*a, *b}):
        left, right = a.get(name), b.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differing(left, right, f"{at}{name}.")
        elif left != right:
            yield f"{at}{name}"


def _in_order(parts: Sequence[Part]) -> Iterator[tuple[Chunk, list[Reading]]]:
    """Every chunk of the source, in its order."""
    streams = [chunks_of(path) for path, _ in parts]
    expected = 0
    for number, chunk, readings in heapq.merge(*streams, key=lambda item: item[0]):
        if number != expected:
            raise UserError(f"chunk {expected} of the posts is in no part", mend="run all shards")
        expected += 1
        yield chunk, readings
    if expected != parts[0][1].chunks:
        raise UserError(f"chunk {expected} of the posts is in no part", mend="run all shards")
