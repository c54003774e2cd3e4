"""What of a gated job's answers is kept, what is not, and the counts of both.

The last gates, which look at the whole file, are checked here, in the order of the file. Knows
nothing of readers; answers from the ledger and fresh ones look the same.

    kept, failed = sieve(example, reading.opinions)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gen_msa.annotating import _marks as marks
from gen_msa.annotating.gates import Candidate, Filter
from gen_msa.metrics import pair_up
from gen_msa.types import Example, Opinion, Polarity, Rejected, Status

LabelPairCounts = Counter[tuple[Polarity, Polarity]]
"""(gold, said) -> rows in which both have a label."""


class FilteredAnswer(Rejected):
    """A line of the rejected file: an answer that a gate refused, whole."""

    post: str
    opinion: Opinion
    excluded: bool
    """Nothing that was said to the same question was accepted."""


class FilterResult(NamedTuple):
    """The answers about one post."""

    accepted: tuple[Opinion, ...]
    failed: tuple[Opinion, ...]
    excluded: frozenset[object]
    """Aspects without any answer that was kept."""


@dataclass
class FilterCounts:
    """The counts of a gated job; they add up over posts, whenever these were asked."""

    questions: int = 0
    accepted: int = 0
    excluded: int = 0
    unanswered: int = 0
    """Questions that could not be asked; the next run asks them again."""
    answers: int = 0
    """All of them, further tries included."""
    checked: Counter[str] = field(default_factory=Counter)
    """Gate -> answers it looked at."""
    rejected: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    """Questions whose accepted answer was not the first."""
    with_token_counts: int = 0
    """Answers whose tokens are known."""
    prompt_tokens: int = 0
    """Tokens of prompts."""
    answer_tokens: int = 0
    """Tokens of answers."""
    first_labels: LabelPairCounts = field(default_factory=Counter)
    """Gold against first answers, kept or not."""
    accepted_labels: LabelPairCounts = field(default_factory=Counter)
    """Gold against accepted answers."""

    def add(self, example: Example, result: FilterResult, annotator: str) -> None:
        """Count the answers about one post."""
        all_opinions = (*result.accepted, *result.failed)
        unavailable_aspects = {opinion.aspect for opinion in all_opinions if opinion.status is Status.ERROR} & result.excluded
        self.questions += len({opinion.aspect for opinion in all_opinions})
        self.accepted += len(result.accepted)
        self.unanswered += len(unavailable_aspects)
        self.excluded += len(result.excluded) - len(unavailable_aspects)
        self.answers += len(all_opinions)
        self.retried += sum(marks.attempt_number(opinion) > 1 for opinion in result.accepted)
        for opinion in all_opinions:
            self._count_filters(opinion)
            if counts := marks.token_counts(opinion):
                self.with_token_counts, self.prompt_tokens = self.with_token_counts + 1, self.prompt_tokens + counts[0]
                self.answer_tokens += counts[1]
        first_opinions = [opinion for opinion in all_opinions if marks.attempt_number(opinion) == 1]
        self.first_labels += _count_label_pairs(example, first_opinions, annotator)
        self.accepted_labels += _count_label_pairs(example, result.accepted, annotator)

    def _count_filters(self, opinion: Opinion) -> None:
        failures = marks.failed_filters(opinion)
        self.checked.update({marks.ANSWER_FILTER, *failures, *marks.passed_filters(opinion)})
        self.rejected.update(list(failures))


class FilterSplitter:
    """Parts the answers of one job, and counts them."""

    def __init__(self, file_filters: Mapping[str, Filter], annotator: str) -> None:
        """`late`: gates of the stage `file`; `by`: whose opinions these are."""
        self.tally = FilterCounts()
        self._filters = file_filters
        self._annotator = annotator

    def __call__(self, example: Example, opinions: Sequence[Opinion]) -> FilterResult:
        """Part the answers about one post; every one of them comes out once."""
        checked = [self._apply_file_filters(example, opinion) for opinion in opinions]
        aspects = list(dict.fromkeys(opinion.aspect for opinion in opinions))
        passed = (opinion for opinion in checked if not marks.failed_filters(opinion))
        accepted = tuple(sorted(passed, key=lambda opinion: aspects.index(opinion.aspect)))
        failed = tuple(opinion for opinion in checked if marks.failed_filters(opinion))
        excluded = frozenset(opinion.aspect for opinion in failed) - {opinion.aspect for opinion in accepted}
        result = FilterResult(accepted, failed, excluded)
        self.tally.add(example, result, self._annotator)
        return result

    def _apply_file_filters(self, example: Example, opinion: Opinion) -> Opinion:
        if marks.failed_filters(opinion) or not self._filters:
            return opinion
        row = [Candidate(example.post, opinion)]
        verdicts: dict[str, str | None] = {}
        for name, answer_filter in self._filters.items():
            (verdicts[name],) = answer_filter.check(row)
        return marks.with_file_verdicts(opinion, verdicts)


def filtered_answer_row(source: str, line: int, example: Example, opinion: Opinion, is_excluded: bool) -> FilteredAnswer:
    """The line that tells of one refused answer."""
    reason = "; ".join(f"{name}: {detail}" for name, detail in marks.failed_filters(opinion).items())
    return FilteredAnswer(
        file=source,
        line=line,
        reason=reason,
        raw=(opinion.raw or opinion.explanation or "")[:500],
        post=example.post.id,
        opinion=opinion,
        excluded=is_excluded,
    )


def _count_label_pairs(example: Example, opinions: Sequence[Opinion], annotator: str) -> LabelPairCounts:
    gold = example.opinions_by("gold")
    pairs = pair_up(Example(post=example.post, opinions=(*gold, *opinions)), annotator) if gold else []
    return Counter((p.label, p.predicted_label) for p in pairs if p.label and p.predicted_label)
