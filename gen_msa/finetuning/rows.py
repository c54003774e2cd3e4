"""From labelled examples to rows: the question a reader would ask, and the answer to learn.

The question is made by the readers' own asker, so that training shows what reading will show.
Knows nothing of tokens. A row that cannot be made is told, with its post and the reason.

    samples, refused = gather(recipe, sees_pictures=True)
"""

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.finetuning import reasons
from gen_msa.finetuning.learning import Gathered, Row, Sample
from gen_msa.finetuning.recipe import Data, Recipe, Task
from gen_msa.prompting import target
from gen_msa.readers import ReaderSettings
from gen_msa.readers.prompted import Asker, PostRefused, Question, Seen, see
from gen_msa.types import WHOLE_POST, Aspect, Cue, Example, Opinion, Polarity, Rejected

TOGETHER = 256
"""Posts whose cues are written at a time."""


def gather(recipe: Recipe, *, sees_pictures: bool) -> Gathered:
    """Every sample of the recipe's training sources, in their order."""
    found = Gathered()
    for i, data in enumerate(recipe.data):
        _Source(i, data, recipe, found, sees_pictures=sees_pictures).gather()
    if not found.samples:
        raise UserError(
            "no row to learn from: no post has a label by "
            + ", ".join(d.labels for d in recipe.data),
            mend=f"look at {recipe.data[0].source} with gen-msa preview",
        )
    return found


def examples(data: Data, seed: int) -> tuple[list[Example], list[Rejected], Path]:
    """The readable examples of a source, at most `data.limit`, its bad rows and media root."""
    source = open_source(data.source)
    good: list[Example] = []
    bad: list[Rejected] = []
    for row in source.rows():
        if isinstance(row, Rejected):
            bad.append(row)
        elif row.said_by(data.labels):
            good.append(row)
    if data.limit is not None and data.limit < len(good):
        keep = sorted(random.Random(f"{seed}/{data.source}").sample(range(len(good)), data.limit))
        good = [good[i] for i in keep]
    return good, bad, source.media_root


def reading_of(data: Data, recipe: Recipe) -> ReaderSettings:
    """How the posts of a source are shown."""
    cues = recipe.reading.cues if data.cues is None else data.cues
    return recipe.reading.model_copy(update={"prompt": data.prompt, "cues": cues})


class _Source:
    """One source on its way to samples."""

    def __init__(
        self, number: int, data: Data, recipe: Recipe, into: Gathered, *, sees_pictures: bool
    ) -> None:
        self.number = number
        self.data = data
        self.into = into
        self.settings = reading_of(data, recipe)
        self.softly = recipe.loss.soft > 0
        self.examples, bad, self.root = examples(data, recipe.seed)
        into.refused += [(f"{r.file}:{r.line}", r.reason) for r in bad]
        shown = sees_pictures and data.pictures
        self.asker = Asker(data.prompt, self.settings, self.root, sees_pictures=shown)
        self.also = [(task, self._beside(task, shown)) for task in data.also]
        self.reasons = reasons.find(data.reasons)

    def gather(self) -> None:
        for at in range(0, len(self.examples), TOGETHER):
            part = [self._chosen(e) for e in self.examples[at : at + TOGETHER]]
            told = self.reasons.reasoned([e for e in part if e], self.data.labels)
            self._add(told)

    def _beside(self, task: Task, shown: bool) -> Asker:
        """Who asks a further task; it shows what the first prompt shows, and nothing else."""
        settings = self.settings.model_copy(update={"prompt": task.prompt})
        asker = Asker(task.prompt, settings, self.root, sees_pictures=shown)
        own, more = self.asker.prompt, asker.prompt
        wrong = ""
        if more.task != own.task or own.task == "aspects":
            wrong = f"is of task {more.task!r}, {own.name} of {own.task!r}"
        elif more.takes_label:
            wrong = "is given the label, which no further task may see"
        elif extra := sorted(set(more.slots) - set(own.slots)):
            wrong = f"shows {', '.join(extra)}, which {own.name} does not"
        if wrong:
            raise UserError(f"also: {more.name} {wrong}", mend="make it a source of its own")
        return asker

    def _chosen(self, example: Example) -> Example | None:
        """The example with the label reader's opinions that this prompt can ask about."""
        joint, whole = (self.asker.prompt.task == t for t in ("aspects", "overall"))
        said = [o for o in example.said_by(self.data.labels) if o.polarity is not None]
        said = [o for o in said if (o.aspect == WHOLE_POST) == whole]
        listed = set(example.post.aspects)
        if not whole and not joint:
            said = [o for o in said if o.aspect in listed]
        if not said:
            self._refuse(
                self._name(example.post.id),
                f"no label by {self.data.labels} for {self.data.prompt}",
            )
            return None
        others = (o for o in example.opinions if o.by != self.data.labels)
        return Example(post=example.post, opinions=(*said, *others))

    def _add(self, told: Sequence[Example]) -> None:
        seen: list[tuple[Seen, Example]] = []
        for example in told:
            post = example.post
            if self.asker.prompt.task == "overall":
                post = post.model_copy(update={"aspects": (WHOLE_POST,)})
            try:
                seen.append((see(len(seen), post, self.root, self.settings), example))
            except PostRefused as e:
                self._refuse(self._name(post.id), e.reason)
        hints = self.asker.hints([s for s, _ in seen])
        for (one, example), written in zip(seen, hints, strict=True):
            rows = tuple(self._rows(one, example, written))
            if rows:
                self.into.samples.append(Sample(self._name(one.post.id), self.number, rows))

    def _rows(self, seen: Seen, example: Example, hints: list) -> Iterator[Row]:  # type: ignore[type-arg]
        prompt, by_aspect = self.asker.prompt, dict(zip(seen.post.aspects, hints, strict=True))
        said = example.said_by(self.data.labels)
        if prompt.task == "aspects":
            yield from self._row(self.asker.question(seen, WHOLE_POST, {}), said)
            return
        for opinion in said:
            label = opinion.polarity if prompt.takes_label else None
            if prompt.takes_label and not opinion.explanation:
                self._refuse(self._name(seen.post.id, opinion.aspect), "no reason to learn")
                continue
            hint = by_aspect[opinion.aspect]
            question = self.asker.question(seen, opinion.aspect, hint, label)
            probs = self._probs(example, opinion.aspect)
            for row in self._row(question, (opinion,)):
                yield dataclasses.replace(row, probs=probs)
                yield from self._further(seen, opinion, hint)

    def _further(self, seen: Seen, opinion: Opinion, hint: Mapping[str, Cue]) -> Iterator[Row]:
        """The same post and aspect asked by the further tasks; none is told the label."""
        for k, (task, asker) in enumerate(self.also, start=1):
            if "explanation" in asker.prompt.keys and not opinion.explanation:
                self.into.bare[task.prompt] += 1
                continue
            for row in self._row(asker.question(seen, opinion.aspect, hint), (opinion,)):
                self.into.tasks[task.prompt] += 1
                yield dataclasses.replace(
                    row,
                    name=f"{row.name} ({task.prompt})",
                    task=k,
                    factor=task.weight,
                    learn=frozenset(task.learn),
                )

    def _row(self, question: Question, said: Sequence[Opinion]) -> Iterator[Row]:
        name = self._name(question.seen.post.id, said[0].aspect if len(said) == 1 else None)
        try:
            answer = target(question.prompt, said)
            weight = weight_of(said, self.data.confidence)
        except (UserError, ValueError) as e:
            self._refuse(name, str(e))
            return
        self.into.without_reason += not answer.complete
        joint = question.prompt.task == "aspects"
        yield Row(name, question, answer, None if joint else said[0].polarity, weight)

    def _probs(self, example: Example, aspect: Aspect) -> dict[Polarity, float] | None:
        """What `data.soft` thinks of the aspect, averaged if it said it more than once."""
        said = example.said_by(self.data.soft or self.data.labels)
        if not self.softly:
            return None
        found = [o.probs for o in said if o.aspect == aspect and o.probs]
        if not found:
            return None
        return {p: sum(f.get(p, 0.0) for f in found) / len(found) for p in Polarity}

    def _name(self, post: str, aspect: Aspect | None = None) -> str:
        base = f"{self.data.source}/{post}"
        return f"{base}/{aspect.term or 'whole post'}" if aspect else base

    def _refuse(self, name: str, reason: str) -> None:
        self.into.refused.append((name, reason))


def weight_of(said: Sequence[Opinion], confidence: float = 0.0) -> float:
    """Mean of the opinions' own weights (`how["weight"]`, a number > 0; 1 where none is given).

    Each is multiplied by the probability of its polarity to the power `confidence`. Raises
    ValueError for a weight that is not a positive number, and where a probability is missing.
    """
    sure = [o.probability if confidence else 1.0 for o in said]
    if None in sure:
        raise ValueError("no probability of the label to weigh it by (data.N.confidence)")
    found: list[float] = [
        float(o.how.get("weight", 1)) * (p or 0.0) ** confidence
        for o, p in zip(said, sure, strict=True)
    ]
    if not all(0 < w < float("inf") for w in found):
        raise ValueError(f"weight must be a positive number, not {found}")
    return sum(found) / len(found)


__all__ = ["Gathered", "Row", "Sample", "examples", "gather", "reading_of", "weight_of"]
