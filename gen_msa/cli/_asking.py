"""The part of an evaluation that has models speak: readers, probes of readers, and a judge.

Knows nothing of figures or pages. Answers are kept in files and ledgers below one folder, so that a
run that is stopped goes on.

    Asking(plan, source, folder, console).answers(fresh=False)
"""

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gen_msa import jsonl, readers
from gen_msa.annotating import JobSettings, Outcome, annotate
from gen_msa.cli._progress import bar
from gen_msa.data import Source
from gen_msa.errors import UserError
from gen_msa.evaluating import Answers, Gathered, costing
from gen_msa.evaluating.judging import Judge, figures, read_human, save, score
from gen_msa.evaluating.pairing import Pairing
from gen_msa.evaluating.probing import Probed, probe
from gen_msa.evaluating.suite import Entry, Suite
from gen_msa.ledger import Ledger
from gen_msa.readers import ReaderSettings, Reading
from gen_msa.results import Cost, Value
from gen_msa.settings import build

Probes = dict[str, dict[str, dict[str, Value]]]
"""Reader -> probe -> figure."""


@dataclass(frozen=True)
class Asking:
    """One suite's models, and where what they say is kept."""

    plan: Suite
    source: Source
    folder: Path
    console: Console

    def answers(self, *, fresh: bool) -> list[Answers]:
        """Every reader's opinions in a file each; what an earlier run knew is not asked again."""
        (self.folder / "readers").mkdir(parents=True, exist_ok=True)
        if fresh:
            (self.folder / "judge.ledger").unlink(missing_ok=True)
        return [
            self._read(entry, reader, seed, fresh=fresh)
            for entry in self.plan.readers
            for seed, reader in enumerate((entry.reader, *entry.seeds))
        ]

    def probes(self, data: Gathered) -> Probes:
        """What became of every reader's answers when posts were changed; rows in probes.jsonl."""
        if not self.plan.probes:
            return {}
        if not self.plan.readers:
            raise UserError("probes have posts read again", mend="name the readers in a suite")
        found = {entry.shown: self._probed(entry, data) for entry in self.plan.readers}
        _write(
            self.folder / "probes.jsonl",
            (
                {"reader": reader, "probe": name, **trial.model_dump(mode="json")}
                for reader, probed in found.items()
                for name, one in probed.items()
                for trial in one.trials
            ),
        )
        return {r: {name: one.figures for name, one in of.items()} for r, of in found.items()}

    def judged(self, data: Gathered, answers: Iterable[Answers]) -> Probes:
        """The judge's marks of every reader that explains; its answers in judgements.jsonl."""
        if self.plan.judge is None:
            return {}
        human = read_human(self.plan.human) if self.plan.human else []
        rows, found = Pairing(self.plan, data), {}
        self._say(f"{self.plan.judge.judge} judges")
        with Ledger(self.folder / "judge.ledger") as known:
            judge = Judge.open(self.plan.judge, data.media_root, known)
            judgements = []
            for one in answers:
                pairs = [p for p in rows.of(one.name) if p.explanation]
                step = max(1, len(pairs) // self.plan.judge_limit)
                some = pairs[::step][: self.plan.judge_limit]
                if some:
                    marks = score(judge, some, maker=one.facts)
                    judgements += marks
                    found[one.name] = {"judge": figures(marks, human)}
        save(judgements, self.folder / "judgements.jsonl")
        return found

    def costed(self, data: Gathered, answers: Sequence[Answers]) -> list[Answers]:
        """The answers with what reading costs, where the suite asks for that (`cost.posts`)."""
        if not self.plan.cost.posts:
            return list(answers)
        if not self.plan.readers:
            raise UserError("costs have posts read again", mend="name the readers in a suite")
        jobs = {entry.shown: self._job(entry, entry.reader) for entry in self.plan.readers}
        # Other seeds of a reader are as large and as fast as it is.
        own = [(a, jobs[a.name]) for a in answers if not a.seed_of]
        self._say(f"the cost of {len(own)} readers is measured")
        asked = [costing.Asked(a.name, j.of_reader(), a.facts, j.chunk) for a, j in own]
        posts = [e.post for e in data.examples]
        found = costing.costs(self.plan.cost, asked, posts, data.media_root)
        return [replace(a, costing=found.get(a.name)) for a in answers]

    def _read(self, entry: Entry, reader: str, seed: int, *, fresh: bool) -> Answers:
        name = f"{entry.shown} ({seed + 1}: {reader})" if seed else entry.shown
        self._say(f"{name} reads {self.source.name}")
        job, file = self._job(entry, reader), self.folder / "readers" / f"{_file_name(name)}.jsonl"
        outcome, cost = self._job_done(job, file, fresh=fresh)
        return Answers(
            name=name,
            file=file,
            by=job.reader,
            reader=reader,
            facts=outcome.reader,
            cost=cost,
            seed_of=entry.shown if seed else "",
        )

    def _job(self, entry: Entry, reader: str) -> JobSettings:
        tree = {**self.plan.settings, **entry.settings, "reader": reader}
        if self.plan.limit is not None:
            tree["limit"] = self.plan.limit
        return build(JobSettings, tree, f"the suite's reader {entry.shown!r}")

    def _job_done(self, job: JobSettings, file: Path, *, fresh: bool) -> tuple[Outcome, Cost]:
        ledger = file.with_suffix(".ledger")
        if fresh:
            ledger.unlink(missing_ok=True)
        began, cpu = time.perf_counter(), time.process_time()
        with bar(self.source, job.limit, self.console) as advance:
            outcome = annotate(self.source, file, job, ledger_path=ledger, on_progress=advance)
        cost = Cost(posts=outcome.counts.written)
        if not outcome.counts.repeated:
            took = {
                "seconds": time.perf_counter() - began,
                "cpu_seconds": time.process_time() - cpu,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            }
            cost = cost.model_copy(update=took)
        return outcome, cost

    def _probed(self, entry: Entry, data: Gathered) -> dict[str, Probed]:
        self._say(f"{entry.shown} is probed")
        settings = self.of_changed(entry)
        return probe(
            self.plan.probed(),
            readers.make(settings, data.media_root),
            settings,
            data.examples,
            [Reading(e.said_by(entry.shown)) for e in data.examples],
            data.media_root,
            against=self.plan.against,
            cluster=self.plan.cluster,
            seed=self.plan.seed,
            limit=self.plan.probe_limit,
            replicates=self.plan.replicates,
        )

    def of_changed(self, entry: Entry) -> ReaderSettings:
        """How a reader is asked about changed posts: reasons are in no probe's figure."""
        return self._job(entry, entry.reader).of_reader().for_labels()

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


def slug(name: str) -> str:
    """A file name that tells what it is of; never a path, and at most 100 bytes."""
    plain = re.sub(r"[^\w.@-]+", "_", name).strip("._").encode()[:100].decode(errors="ignore")
    return plain or "reader"


def _file_name(name: str) -> str:
    """The `slug` of a reader's name, marked where it is not the name itself: `a/b` and `a b` keep
    their answers apart, and `a.rejected` is not what `a` refused.
    """
    plain = slug(name)
    if plain == name and not name.endswith(".rejected"):
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with jsonl.whole(path) as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
