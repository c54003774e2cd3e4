"""Runs an evaluation for the terminal: readers read into files, the files are compared.

OUT/readers/NAME.jsonl holds what each reader said, OUT/results.json every figure, OUT/samples.jsonl
every post with all opinions; OUT/report.html, figures.md and figures.csv are drawn from these.
OUT/suite.yaml has the merged settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from gen_msa import jsonl, settings
from gen_msa.cli._asking import Asking, Probes, slug
from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.evaluating import (
    Gathered,
    carding,
    evaluate,
    gather,
    load,
    published,
    speakers,
    suite,
)
from gen_msa.evaluating.suite import Suite
from gen_msa.report.evaluation import markdown, table, write_evaluation, write_figures
from gen_msa.results import Result


@dataclass(frozen=True)
class Asked:
    """The options of `evaluate`, as given."""

    what: str
    settings: Sequence[str]
    readers: Sequence[str]
    seeds: Sequence[str]
    against: str | None

    def suite(self) -> Suite:
        """The suite that is named, or one made for the posts that are."""
        if self.seeds and len(self.readers) != 1:
            raise UserError("--seeds needs exactly one --reader", mend="name the others in a suite")
        named = self.what in suite.names() or Path(self.what).suffix in (".yaml", ".yml")
        keys = [*self.settings, *([f"against={self.against}"] if self.against else [])]
        if named:
            found = suite.load(self.what, keys)
        else:
            found = settings.load(Suite, None, [f"data={self.what}", *keys])
        if not self.readers:
            return found
        # A reader that the suite knows keeps the suite's settings for it.
        known = {e.reader: e.model_dump(exclude_unset=True) for e in found.readers}
        given = [known.get(r, {}) | {"reader": r, "seeds": list(self.seeds)} for r in self.readers]
        tree = found.model_dump(exclude_unset=True) | {"readers": given}
        return settings.build(Suite, tree, "the command line")


def run(asked: Asked, out: Path | None, card: Path | None, *, fresh: bool) -> int:
    """Read, compare, write; returns the exit code. `card` is a model card of the first reader."""
    plan = asked.suite()
    folder = out or Path("evaluations") / slug(plan.title or plan.data)
    folder.mkdir(parents=True, exist_ok=True)
    console, source = Console(stderr=True), open_source(plan.data)
    asking = Asking(plan, source, folder, console)
    read = asking.answers(fresh=fresh)
    data = gather(load(source, plan.limit), read)
    answers = read or speakers(plan, data)
    result = evaluate(
        plan,
        data,
        answers,
        published=published.load(plan.published),
        probes=_together(asking.probes(data), asking.judged(data, answers)),
    )
    _write(plan, result, data, folder)
    if card is not None:
        carding.put(card, result, result.readers[0].name)
    Console().print(table(result))
    for path in (*(folder / n for n in ("report.html", "results.json", "samples.jsonl")), card):
        if path is not None:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    return 0


def _together(one: Probes, other: Probes) -> Probes:
    return {name: one.get(name, {}) | other.get(name, {}) for name in {**one, **other}}


def _write(plan: Suite, result: Result, data: Gathered, folder: Path) -> None:
    settings.save(plan, folder / "suite.yaml")
    with jsonl.whole(folder / "samples.jsonl") as f:
        for example in data.examples:
            f.write(example.model_dump_json().encode() + b"\n")
    with jsonl.whole(folder / "results.json") as f:
        f.write(result.model_dump_json(indent=1).encode() + b"\n")
    (folder / "figures.md").write_text(markdown(result), encoding="utf-8")
    write_figures(result, folder / "figures.csv")
    write_evaluation(result, data.examples, folder / "report.html", data.media_root)
