"""A teacher whose answers go through gates and who is asked again for those that did not pass.

    read -> answered whole? -> gates of words -> gates that ask -> passed, or asked with a new seed

Every answer comes out, passed or not, with its way through the gates in `how`; gates that look at
the whole file come later. Knows nothing of files or ledgers.

    Gated(AnnotateSettings(reader="echo", gates={"length": {}}), root).read(examples)
"""

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from gen_msa import readers
from gen_msa.annotating import _marks as marks
from gen_msa.annotating._guiding import Guided
from gen_msa.annotating._settings import AnnotateSettings
from gen_msa.annotating._steering import TOKENS, Steered, drawing
from gen_msa.annotating.gates import Bench, Candidate, Gate, gates
from gen_msa.errors import UserError
from gen_msa.readers import Finish, Reading, Shown
from gen_msa.readers.prompted import Prompted
from gen_msa.settings import build
from gen_msa.types import Aspect, Example, Opinion, Post, Status

_VOTES = 1_000
"""Seeds of gates begin so far above those of answers."""


class Gated:
    """A reader, the gates its answers must pass, and further tries for those that did not."""

    def __init__(self, settings: AnnotateSettings, media_root: Path) -> None:
        self._settings = settings
        self._reader = readers.make(settings.of_reader(), media_root)
        self._guided: Guided | None = None
        draws = False
        if isinstance(self._reader, Prompted):
            steered = Steered(self._reader.backend)
            draws = steered.samples
            self._reader = self._reader.over(steered)
            self._guided = Guided(self._reader, media_root) if settings.tells_label else None
        elif settings.tells_label:
            raise UserError(f"{settings.reader} is asked nothing, so that nothing can guide it")
        self._tries = 1 + settings.retries if draws else 1
        sample = self._sample if draws and not self._guided else None
        made = made_gates(settings, Bench(media_root, sample))
        self._gates = {name: gate for name, gate in made.items() if gate.stage != "file"}
        facts = self._reader.fingerprint()
        said = str(facts.get("revision") or facts.get("file") or settings.reader)
        self._teacher = f"{settings.reader} {said[:80]}"
        self._votes: Counter[tuple[str, Aspect, int]] = Counter()
        self.overlaps = readers.overlaps(self._reader)
        self._judging = threading.Lock()
        """Gates and their models are not made for two threads; asking is."""

    def prepare(self, examples: Sequence[Example]) -> Finish:
        """The first questions; what is left is to ask them, to judge, and to ask again."""
        first = self._prepared(examples)
        return lambda: self._read(examples, first)

    def read(self, examples: Sequence[Example]) -> list[Reading]:
        """Every answer about each example's post, failed ones before those that passed."""
        return self.prepare(examples)()

    def _read(self, examples: Sequence[Example], first: Finish) -> list[Reading]:
        done: list[list[Opinion]] = [[] for _ in examples]
        refused: dict[int, Reading] = {}
        open_: dict[int, frozenset[Aspect] | None] = dict.fromkeys(range(len(examples)))
        for attempt in range(1, self._tries + 1):
            asked = [_only(examples[row], aspects) for row, aspects in open_.items()]
            finish = first if attempt == 1 else self._prepared(asked)
            readings = self._asked(finish, attempt)
            refused |= {r: x for r, x in zip(open_, readings, strict=True) if x.refused}
            wanted = _wanted(open_, readings)
            with self._judging:
                judged = self._judged([Candidate(examples[r].post, o) for r, o in wanted], attempt)
            failed: dict[int, set[Aspect]] = {}
            for (row, _), opinion in zip(wanted, judged, strict=True):
                done[row].append(opinion)
                # What could not be asked at all is left for the next run.
                if marks.failures(opinion) and opinion.status is not Status.ERROR:
                    failed.setdefault(row, set()).add(opinion.aspect)
            open_ = {row: frozenset(aspects) for row, aspects in failed.items()}
            if not open_:
                break
        return [refused.get(row) or Reading(tuple(said)) for row, said in enumerate(done)]

    def preview(self, examples: Sequence[Example]) -> list[Shown]:
        """The teacher's first questions, as they would be asked the first time."""
        if self._guided:
            return self._guided.preview(examples)
        return self._reader.preview([e.post for e in examples])

    def fingerprint(self) -> dict[str, JsonValue]:
        """The reader's, every gate's that answers are judged by on the way, and what draws."""
        how = {"retries", "seed", "temperature", "retry_temperature", "guided", "label_in_context"}
        own = {name: gate.fingerprint() for name, gate in self._gates.items()}
        options: dict[str, JsonValue] = {n: self._settings.gates[n] for n in self._gates}
        return {
            "reader": self._reader.fingerprint(),
            "gates": {"options": options, "own": own},
            "prompt": self._guided.prompt.digest if self._guided else "",
            "asked": self._settings.model_dump(mode="json", include=how),
        }

    def _prepared(self, examples: Sequence[Example]) -> Finish:
        if self._guided:
            return self._guided.prepare(examples)
        return readers.prepare(self._reader, [e.post for e in examples])

    def _asked(self, finish: Finish, attempt: int) -> list[Reading]:
        s = self._settings
        temperature = s.temperature if attempt == 1 else s.retry_temperature
        with drawing(temperature=temperature, seed=s.seed + attempt - 1):
            return finish()

    def _sample(self, posts: Sequence[Post], draw: int) -> list[Reading]:
        """Further answers, for a gate; what they cost is added to the answer they are about."""
        s = self._settings
        with drawing(temperature=s.retry_temperature, seed=s.seed + _VOTES + draw):
            readings = self._reader.read(posts)
        for post, reading in zip(posts, readings, strict=True):
            for o in reading.opinions:
                for part, count in enumerate(marks.tokens(o) or ()):
                    self._votes[post.id, o.aspect, part] += count
        return readings

    def _judged(self, rows: Sequence[Candidate], attempt: int) -> list[Opinion]:
        verdicts = self._verdicts(rows)
        out = []
        for row, found in zip(rows, verdicts, strict=True):
            said = marks.marked(row.said, found, attempt, self._teacher)
            more = [self._votes.pop((row.post.id, said.aspect, part), 0) for part in (0, 1)]
            if any(more):
                read, written = marks.tokens(said) or (0, 0)
                how = {**said.how, TOKENS: f"{read + more[0]}+{written + more[1]}"}
                said = said.model_copy(update={"how": how})
            out.append(said)
        return out

    def _verdicts(self, rows: Sequence[Candidate]) -> list[dict[str, str | None]]:
        """Gate -> verdict of each row, for the gates that were shown it."""
        unread = [marks.unread(row.said) for row in rows]
        found: list[dict[str, str | None]] = [{marks.ANSWER: why} if why else {} for why in unread]
        for stage in ("words", "asks"):
            ready = [i for i, v in enumerate(found) if not any(v.values())]
            if stage == "words":
                ready = [i for i, why in enumerate(unread) if not why]
            for name, gate in self._gates.items():
                if gate.stage == stage and ready:
                    some = gate.check([rows[i] for i in ready])
                    for i, why in zip(ready, some, strict=True):
                        found[i][name] = why
        return found


def made_gates(settings: AnnotateSettings, bench: Bench) -> dict[str, Gate]:
    """Every gate of the settings, made. Raises `UserError` for an unknown gate or option."""
    made = {}
    for name, options in settings.gates.items():
        kind = gates[name]
        made[name] = kind(build(kind.Options, options or {}, f"gates.{name}"), bench)
    return made


def _only(example: Example, aspects: frozenset[Aspect] | None) -> Example:
    """The example asked about these aspects alone; None: about all."""
    if aspects is None:
        return example
    post = example.post
    if post.aspects:
        some = tuple(a for a in post.aspects if a in aspects) or post.aspects
        post = post.model_copy(update={"aspects": some})
    gold = tuple(o for o in example.opinions if o.aspect in aspects)
    return Example(post=post, opinions=gold)


def _wanted(
    asked: dict[int, frozenset[Aspect] | None], readings: Sequence[Reading]
) -> list[tuple[int, Opinion]]:
    """Row and opinion of all that was asked for; a joint answer's tokens stand once."""
    found = []
    for (row, aspects), reading in zip(asked.items(), readings, strict=True):
        counted = False
        for o in reading.opinions:
            joint = "span" in o.how
            if joint and counted:
                o = o.model_copy(update={"how": {k: v for k, v in o.how.items() if k != TOKENS}})
            counted = counted or joint
            if aspects is None or o.aspect in aspects:
                found.append((row, o))
    return found
