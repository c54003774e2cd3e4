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
from gen_msa.annotating._ending import JobResult, finalize, rejected_path, file_filters
from gen_msa.annotating._output import JobCounts, JobOutput
from gen_msa.annotating._parts import ShardFooter, read_chunks, read_footer
from gen_msa.annotating._rows import Chunk
from gen_msa.annotating._settings import RUN_SETTINGS, AnnotateSettings, JobSettings
from gen_msa.errors import UserError
from gen_msa.readers import Prediction

ShardPart = tuple[Path, ShardFooter]
_SETTINGS_TYPES: dict[str, type[JobSettings]] = {"explain": JobSettings, "annotate": AnnotateSettings}


def merge_shards(
    paths: Sequence[Path],
    out: Path,
    *,
    lines: Path | None = None,
    on_progress: Callable[[JobCounts], None] = lambda _: None,
) -> tuple[JobResult, JobSettings]:
    """Write `out` (JSONL) of the parts of every shard, in any order; also the job's settings.

    `lines` takes the examples where `out` is to become another format.
    Raises `UserError` before anything is written when the parts do not make up one job.
    """
    parts = _load_parts(paths)
    path, first = parts[0]
    settings = settings_files.build(_SETTINGS_TYPES[first.verb], first.settings, str(path))
    splitter = file_filters(settings, Path(first.media_root))
    with jsonl.atomic_write(lines or out) as accepted_file, jsonl.atomic_write(rejected_path(out)) as rejected_file:
        output = JobOutput(first.data, accepted_file, rejected_file, splitter)
        for chunk, predictions in _merge_chunks(parts):
            output.write(chunk, predictions)
            on_progress(output.counts)
    output.counts.from_cache = sum(footer.from_cache for _, footer in parts)
    seconds = sum(footer.seconds for _, footer in parts)
    return finalize(output, settings, out, first.data, first.fingerprint, seconds), settings


def _load_parts(paths: Sequence[Path]) -> list[ShardPart]:
    """The parts by shard. Raises `UserError` unless they are all parts of one job, each once."""
    if not paths:
        raise UserError("no parts to merge", hint="name the files that --shard wrote: OUT.*.part")
    first, *others = parts = [(p, read_footer(p)) for p in paths]
    for other in others:
        _require_same_job(first, other)
    paths_by_shard: dict[int, Path] = {}
    for path, footer in parts:
        if footer.shard in paths_by_shard:
            raise UserError(
                f"{paths_by_shard[footer.shard]} and {path} are both shard {footer.shard}/{footer.n_shards}",
                hint="name the part of each shard once",
            )
        paths_by_shard[footer.shard] = path
    n_shards = first[1].n_shards
    if missing := [i for i in range(1, n_shards + 1) if i not in paths_by_shard]:
        missing_shards = ", ".join(f"{i}/{n_shards}" for i in missing[:10])
        raise UserError(
            f"no part of shard {missing_shards}{' …' if len(missing) > 10 else ''}",
            hint="a shard writes its part when it has finished: name it, or run the same command "
            f"with --shard {missing[0]}/{n_shards} again; what it answered is kept in its ledger",
        )
    return sorted(parts, key=lambda part: part[1].shard)


def _require_same_job(first: ShardPart, other: ShardPart) -> None:
    """Raise `UserError` naming what two parts do not share."""
    (a, x), (b, y) = first, other
    shards = (x.n_shards, y.n_shards, f"{x.n_shards} shards and {y.n_shards}", "answers pass to another sharding by --known")
    data = (
        (x.data_sha256, x.rows, x.chunks),
        (y.data_sha256, y.rows, y.chunks),
        f"other posts, of {x.data} and of {y.data}",
        "run the shards of the older posts again",
    )
    first_settings, other_settings = _answer_settings(x), _answer_settings(y)
    differences = ", ".join(_differing_keys(first_settings, other_settings))
    answers = (first_settings, other_settings, f"other answers: {differences}", "run the older shards again as the newer")
    for first_value, other_value, problem, hint in (shards, data, answers):
        if first_value != other_value:
            raise UserError(f"{a} and {b} are not of one job: {problem}", hint=hint)


def _answer_settings(footer: ShardFooter) -> dict[str, Any]:
    """What decides the answers and which of them are kept."""
    settings = {k: v for k, v in footer.settings.items() if k not in RUN_SETTINGS}
    return {"verb": footer.verb, "reader": footer.fingerprint, "settings": settings}


def _differing_keys(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names under which two trees differ."""
    for name in sorted({*a, *b}):
        a_value, b_value = a.get(name), b.get(name)
        if isinstance(a_value, dict) and isinstance(b_value, dict):
            yield from _differing_keys(a_value, b_value, f"{prefix}{name}.")
        elif a_value != b_value:
            yield f"{prefix}{name}"


def _merge_chunks(parts: Sequence[ShardPart]) -> Iterator[tuple[Chunk, list[Prediction]]]:
    """Every chunk of the source, in its order."""
    streams = [read_chunks(path) for path, _ in parts]
    expected = 0
    for chunk_index, chunk, predictions in heapq.merge(*streams, key=lambda item: item[0]):
        if chunk_index != expected:
            raise UserError(f"chunk {expected} of the posts is in no part", hint="run all shards")
        expected += 1
        yield chunk, predictions
    if expected != parts[0][1].chunks:
        raise UserError(f"chunk {expected} of the posts is in no part", hint="run all shards")
