"""Runs an evaluation for the terminal: readers read into files, the files are compared.

OUT/readers/NAME.jsonl holds what each reader said, OUT/results.json every figure, OUT/samples.jsonl
every post with all opinions; OUT/report.html, figures.md and figures.csv are drawn from these.
OUT/suite.yaml has the merged settings.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from gen_msa import jsonl, settings
from gen_msa.cli._asking import Asking, Probes, slug
from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.evaluating import (
    Gathered,
    carding,
    check,
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
        keys = [*self.settings, *([f"against={_quoted(self.against)}"] if self.against else [])]
        if named:
            found = suite.load(self.what, keys)
        else:
            found = settings.load(Suite, None, [f"data={_quoted(self.what)}", *keys])
        if not self.readers:
            return found
        given = [one for reader in self.readers for one in self._entries(reader, found)]
        tree = found.model_dump(exclude_unset=True) | {"readers": given}
        return settings.build(Suite, tree, "the command line")

    def _entries(self, reader: str, found: Suite) -> list[dict[str, Any]]:
        """One --reader: as often as the suite has it, each with the suite's settings for it."""
        known = [e.model_dump(exclude_unset=True) for e in found.readers if e.reader == reader]
        seeds = {"seeds": list(self.seeds)} if self.seeds else {}
        return [one | seeds for one in known or [{"reader": reader}]]


def _quoted(text: str) -> str:
    """As a YAML string, whatever is in it: `7`, `no` and `a #b.jsonl` are names here."""
    return json.dumps(text, ensure_ascii=False)


def run(asked: Asked, out: Path | None, card: Path | None, *, fresh: bool) -> int:
    """Read, compare, write; returns the exit code. `card` is a model card of the first reader."""
    plan = asked.suite()
    console, source = Console(stderr=True), open_source(plan.data)
    # What can be wrong without a reader is said before any reads: that may take hours.
    printed, base = published.load(plan.published), load(source, plan.limit)
    check(plan, base)
    folder = _folder(out or Path("evaluations") / slug(plan.title or plan.data))
    asking = Asking(plan, source, folder, console)
    read = asking.answers(fresh=fresh)
    data = gather(base, read)
    answers = read or speakers(plan, data)
    probed = _together(asking.probes(data), asking.judged(data, answers))
    answers = asking.costed(data, answers)
    result = evaluate(plan, data, answers, published=printed, probes=probed)
    _write(plan, result, data, folder)
    if card is not None:
        carding.put(card, result, result.readers[0].name)
    Console().print(table(result))
    for path in (*(folder / n for n in ("report.html", "results.json", "samples.jsonl")), card):
        if path is not None:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)
    return 0


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"{path} cannot be a folder: {e}", mend="name another one: --out") from e
    return path


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
