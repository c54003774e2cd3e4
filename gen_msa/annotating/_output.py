"""What a job writes: answers into the ledger, then examples and rejected rows into their files.

Knows nothing of how readings came to be, or whether they were made just now or in an earlier run.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from pydantic import JsonValue, TypeAdapter

from gen_msa.annotating._rows import Chunk, as_rejected
from gen_msa.annotating._sieving import FilteredAnswer, FilterSplitter, filtered_answer_row
from gen_msa.data.label_leak import find_label_leaks
from gen_msa.ledger import AnswerCache
from gen_msa.readers import Prediction
from gen_msa.types import Example, Opinion, Rejected, Status

_OPINIONS = TypeAdapter(tuple[Opinion, ...])


@dataclass
class PendingChunk:
    """A chunk on its way: the ledger key of each example, and what the ledger already knew."""

    chunk: Chunk
    keys: Sequence[str]
    cached: Mapping[str, JsonValue]
    is_cached: bool = False
    """Whether the answers that were not known are in the ledger already."""

    @property
    def new_keys(self) -> list[str]:
        """The keys that the ledger did not know."""
        return [key for key in self.keys if key not in self.cached]


@dataclass
class JobCounts:
    """The counts of a job; `written + rejected == rows`."""

    rows: int = 0
    written: int = 0
    rejected: int = 0
    from_cache: int = 0
    """Posts answered from the ledger."""
    opinions: int = 0
    unparsed: int = 0
    """Opinions without a polarity, those of `unanswered` posts included."""
    unanswered: int = 0
    """Posts with an opinion that could not be had; the next run asks again."""
    filtered_out: int = 0
    """Answers that a gate refused; they stand in the rejected file, not in `opinions`."""

    last_error: str = ""
    """What the last unanswered post was told."""

    def error_rate(self) -> float:
        """Share of rows rejected or unanswered, 0 to 1."""
        return (self.rejected + self.unanswered) / self.rows if self.rows else 0.0

    def add(self, opinions: Sequence[Opinion], accepted: Sequence[Opinion]) -> None:
        """Count all that was said about one post, and what of it is kept."""
        self.opinions += len(accepted)
        self.unparsed += sum(o.polarity is None for o in accepted)
        if has_error(opinions):
            self.unanswered += 1
            errors = [o.provenance.get("error", "") for o in opinions if o.status is Status.ERROR]
            self.last_error = errors[-1]


class JobOutput:
    """The files of one job."""

    def __init__(
        self,
        source: str,
        accepted_file: IO[bytes],
        rejected_file: IO[bytes],
        splitter: FilterSplitter | None = None,
    ) -> None:
        """`sieve` parts what passed its gates from the rest; without one all is written."""
        self.splitter = splitter
        self.label_fields = 0
        """Found by the audit in what a sieve let through."""
        self.counts = JobCounts()
        self.posts = hashlib.sha256()
        """Over every post written: names the data a figure was made on."""
        self._source = source
        self._accepted_file = accepted_file
        self._rejected_file = rejected_file

    def write(self, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """Write one chunk. `readings` are of its examples, in order."""
        examples: list[Example] = []
        rejected = list(chunk.rejected)
        for number, example, prediction in zip(chunk.row_numbers, chunk.examples, predictions, strict=True):
            if prediction.rejection:
                reason, hint = prediction.rejection, prediction.hint
                rejected.append(as_rejected(self._source, number, example, reason, hint))
            else:
                examples.append(self._add_opinions(example, prediction.opinions, number, rejected))
                accepted = examples[-1].opinions[len(example.opinions) :]
                self.counts.add(prediction.opinions, accepted)
        for written_example in examples:
            self.posts.update(written_example.post.model_dump_json().encode())
        self._accepted_file.writelines(written_example.model_dump_json().encode() + b"\n" for written_example in examples)
        self._rejected_file.writelines(row.model_dump_json().encode() + b"\n" for row in rejected)
        self.counts.written += len(examples)
        self.counts.rejected += sum(not isinstance(row, FilteredAnswer) for row in rejected)
        self.counts.rows = self.counts.written + self.counts.rejected

    def _add_opinions(
        self, example: Example, opinions: Sequence[Opinion], number: int, rejected: list[Rejected]
    ) -> Example:
        """The example with what is kept of `said`; the rest is added to `aside`."""
        if self.splitter is None:
            return example.with_opinions(*opinions)
        accepted, failed_opinions, excluded_aspects = self.splitter(example, opinions)
        rejected += [filtered_answer_row(self._source, number, example, o, o.aspect in excluded_aspects) for o in failed_opinions]
        self.counts.filtered_out += len(failed_opinions)
        full_example = example.with_opinions(*accepted)
        self.label_fields += len(find_label_leaks(self._source, [full_example]))
        return full_example


def merge_cached(
    pending: PendingChunk, new_predictions: Sequence[Prediction], cache: AnswerCache | None
) -> tuple[list[Prediction], int]:
    """The reading of each example of a chunk, and how many of them the ledger knew.

    `fresh` are of the examples it did not know, in order; they go into the ledger first.
    """
    if cache is not None and not pending.is_cached:
        cache_answers(cache, pending, new_predictions)
    remaining = iter(new_predictions)
    predictions = [
        Prediction(_OPINIONS.validate_python(pending.cached[k])) if k in pending.cached else next(remaining)
        for k in pending.keys
    ]
    return predictions, len(predictions) - len(new_predictions)


def cache_answers(cache: AnswerCache, pending: PendingChunk, new_predictions: Sequence[Prediction]) -> None:
    """Put fresh answers into the ledger, perhaps before their chunk's turn; from any thread."""
    put_answers(cache, dict(zip(pending.new_keys, new_predictions, strict=True)))
    pending.is_cached = True


def put_answers(cache: AnswerCache, predictions: Mapping[str, Prediction]) -> None:
    """Put readings into the ledger by key, but for those that the next run must ask for again."""
    complete_predictions = {k: prediction for k, prediction in predictions.items() if not prediction.rejection and not has_error(prediction.opinions)}
    if complete_predictions:
        cache.put({k: _OPINIONS.dump_python(prediction.opinions, mode="json") for k, prediction in complete_predictions.items()})


def has_error(opinions: Sequence[Opinion]) -> bool:
    """Whether something could not be asked."""
    return any(o.status is Status.ERROR for o in opinions)
