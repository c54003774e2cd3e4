"""Load the data of an evaluation and put the predictions of several systems side by side.

The predictions of each system are in a JSONL file of examples, as `gen-msa explain` writes it. Rows
are joined by post id. A post missing from a system's file counts as unanswered; a post that the
data does not have is counted and noted.

    data = load_examples(open_examples("twitter2015:dev"))
    data = add_system_outputs(data, [SystemOutput("builtin", Path("opinions.jsonl"))])
    PairBuilder(suite, data).pairs_of("builtin")
"""

import hashlib
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from pydantic import JsonValue

from gen_msa.cues import cue_sources
from gen_msa.data import ExampleSource, open_examples
from gen_msa.errors import UserError
from gen_msa.evaluation.suite import Suite
from gen_msa.metrics import Pair, image_cluster, pair_up
from gen_msa.results import CostBenchmark, RunCost
from gen_msa.settings import build
from gen_msa.types import OVERALL_ASPECT, Example, Rejected


@dataclass(frozen=True)
class SystemOutput:
    """The predictions of one system, in a file."""

    name: str
    """Display name."""
    file: Path
    annotator: str = ""
    """Its `Opinion.annotator` in the file; empty: the only annotator there that the data does not
    have."""
    model: str = ""
    """The model as named on the command line."""
    fingerprint: dict[str, JsonValue] = field(default_factory=dict)
    cost: RunCost | None = None
    cost_benchmark: CostBenchmark | None = None
    seed_of: str = ""
    """Name of the system that this is another seed of; empty for a system of its own."""
    exceeds_error_rate: bool = False
    """Whether more rows or images failed than its job's `max_error_rate` allows."""


@dataclass(frozen=True)
class EvaluationData:
    """The posts of an evaluation with all their opinions."""

    examples: tuple[Example, ...]
    media_root: Path
    name: str
    sha256: str
    """Hash of every post and every opinion that came with the data, in order."""
    rejected: int = 0
    """Rows that could not be read from disk."""
    notes: tuple[str, ...] = ()
    unused: Mapping[str, int] = field(default_factory=dict)
    """What of the source was not used, by kind: rows, columns, labels."""

    def annotators(self) -> list[str]:
        """Return every annotator in order of appearance."""
        return list(dict.fromkeys(o.annotator for e in self.examples for o in e.opinions))


def load_examples(source: ExampleSource, limit: int | None = None) -> EvaluationData:
    """Load the examples of `source` into memory.

    Args:
        source: The data.
        limit: Only the first rows; None for all.

    Returns:
        The examples, with the hash of the data and notes on unreadable rows.

    Raises:
        UserError: There is no readable post, or a post id occurs twice.
    """
    digest, rejected = hashlib.sha256(), list[Rejected]()
    examples: dict[str, Example] = {}
    rows = source.rows()
    # Bad rows count towards the limit, as they do in prediction: both must see the same posts.
    for row in islice(rows, limit):
        if isinstance(row, Rejected):
            rejected.append(row)
            continue
        _check_unique(row.post.id, examples, source.name)
        examples[row.post.id] = row
        digest.update(row.model_dump_json().encode())
    if not examples:
        raise UserError(f"{source.name} holds no readable post")
    notes = _rejected_notes(source.name, rejected)
    if limit is not None and next(rows, None) is not None:
        notes.append(f"only the first {limit:,} rows")
    notes += source.notes.texts
    return EvaluationData(
        tuple(examples.values()),
        source.media_root,
        source.name,
        digest.hexdigest(),
        len(rejected),
        tuple(notes),
        source.notes.unused + Counter(row=len(rejected)),
    )


def add_system_outputs(data: EvaluationData, outputs: Sequence[SystemOutput]) -> EvaluationData:
    """Add the opinions of each system under its display name.

    Args:
        data: The posts.
        outputs: The systems with their files.

    Returns:
        The data with the added opinions, and notes on unknown, missing and unreadable rows.

    Raises:
        UserError: A name is already taken, a post id occurs twice, or a file has opinions of
            several annotators and none is named.
    """
    index_by_id = {e.post.id: i for i, e in enumerate(data.examples)}
    examples, notes = list(data.examples), list(data.notes)
    used_names = set(data.annotators())
    for output in outputs:
        if output.name in used_names:
            raise UserError(
                f"{data.name} already has opinions by {output.name!r}",
                hint="give the system another name",
            )
        used_names.add(output.name)
        n_unknown, seen_ids, rejected = 0, set[str](), list[Rejected]()
        annotator = output.annotator or _sole_annotator(output, data)
        for example in open_examples(str(output.file)).rows():
            if isinstance(example, Rejected):
                rejected.append(example)
                continue
            _check_unique(example.post.id, seen_ids, str(output.file))
            seen_ids.add(example.post.id)
            if example.post.id not in index_by_id:
                n_unknown += 1
                continue
            opinions = (
                o.model_copy(update={"annotator": output.name})
                for o in example.opinions_by(annotator)
            )
            index = index_by_id[example.post.id]
            examples[index] = examples[index].with_opinions(*opinions)
        notes += _coverage_notes(output, n_unknown, len(index_by_id.keys() - seen_ids), data.name)
        notes += [f"{output.name}: {n}" for n in _rejected_notes(output.file.name, rejected)]
    return replace(data, examples=tuple(examples), notes=tuple(notes))


NAMED_ROWS = 3
"""Rows that could not be read and are named; the others are counted."""


def _rejected_notes(name: str, rejected: Sequence[Rejected]) -> list[str]:
    """Return one note that counts the rows that cannot be read, and names the first of them."""
    if not rejected:
        return []
    named = [f"line {r.line}: {r.reason}" for r in rejected[:NAMED_ROWS]]
    named += ["…"] * (len(rejected) > NAMED_ROWS)
    noun = "row" if len(rejected) == 1 else "rows"
    return [f"{len(rejected):,} {noun} of {name} cannot be read ({'; '.join(named)})"]


def _coverage_notes(
    output: SystemOutput, n_unknown: int, n_missing: int, data: str
) -> Iterator[str]:
    if n_unknown:
        yield (
            f"{output.name}: {n_unknown:,} posts of {output.file.name} are not in {data}; left out"
        )
    if n_missing:
        rejected_file = output.file.with_suffix(".rejected.jsonl")
        note = f" (see {rejected_file.name} for the reasons)" if rejected_file.is_file() else ""
        yield (
            f"{output.name}: no answer for {n_missing:,} posts{note}; their aspects count as wrong"
        )


def _check_unique(post: str, seen_ids: Container[str], location: str) -> None:
    if post in seen_ids:
        raise UserError(
            f"{location}: the post id {post!r} occurs twice",
            hint="rows are joined by id: give each post an id of its own",
        )


def _sole_annotator(output: SystemOutput, data: EvaluationData) -> str:
    data_annotators = set(data.annotators())
    annotators = {
        o.annotator for e in _read_examples(output.file) for o in e.opinions
    } - data_annotators
    if len(annotators) != 1:
        names = ", ".join(sorted(annotators)) or "none"
        raise UserError(
            f"{output.file}: cannot tell whose opinions to take; it has opinions by {names}",
            hint="name one of them: FILE#NAME",
        )
    return annotators.pop()


def _read_examples(path: Path) -> Iterator[Example]:
    return (r for r in open_examples(str(path)).rows() if isinstance(r, Example))


class PairBuilder:
    """Builds the pairs of one data set; the texts of images are looked up once."""

    def __init__(self, suite: Suite, data: EvaluationData) -> None:
        self._suite = suite
        self._data = data
        self._image_texts = _image_texts(suite, data)

    def pairs_of(self, annotator: str) -> list[Pair]:
        """Return an annotator's pairs: the reference's rows in order, then spurious predictions."""
        pairs = [
            pair_up(
                e,
                annotator,
                self._suite.reference,
                cluster=cluster_id(self._suite, e),
                extra_inputs=texts,
            )
            for e, texts in zip(self._data.examples, self._image_texts, strict=True)
        ]
        return sorted(chain.from_iterable(pairs), key=lambda p: p.gold is None)


def cluster_id(suite: Suite, example: Example) -> str:
    """Return what the rows of an example share: its first image, or the post where it has none.

    Args:
        suite: Says whether rows cluster by image or by post.
        example: The example.
    """
    return image_cluster(example.post) if suite.cluster == "image" else f"post {example.post.id}"


def _image_texts(suite: Suite, data: EvaluationData) -> list[dict[str, str]]:
    """Return for each post the texts that replace its image, by name."""
    # The text of an image does not depend on the aspect: the whole post is asked about.
    posts = [e.post.model_copy(update={"aspects": (OVERALL_ASPECT,)}) for e in data.examples]
    image_texts: list[dict[str, str]] = [{} for _ in posts]
    source_class = cue_sources["context"]
    for name, options in suite.image_text.items():
        source = source_class(build(source_class.Options, options, f"image_text.{name}"))
        for texts, (cue,) in zip(image_texts, source.cues(posts), strict=True):
            if cue.text:
                texts[name] = cue.text
    return image_texts
