"""How a run looks on a terminal: its start, each logged step, each judgement, its end.

Colours on a terminal; piped, plain text in which the fields of an answer are marked as in
`[label| positive]`. Takes plain facts; knows no tensors and computes nothing about them.

    printer = Printer(Console(stderr=True))
    printer.opening(Opening(...)); printer.step(Step(...)); printer.figures(judgement.as_json())
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gen_msa.finetuning.facts import Budget, Opening, Part, Shown, Step
from gen_msa.finetuning.judgement import Judgement
from gen_msa.report.visible import MARK, STYLE, printable, tone_of

STYLES = {"label": "bold green", "explanation": "cyan", "aspect": "magenta", "form": "yellow"}
"""How the tokens of each field look; the prompt, which has no loss, is dim."""

NAMED = 5
"""Rows that are left out and named; the others are counted."""
REPEATED = 4
"""A run of this many equal tokens (a picture's) is shown as one with its count."""


class Printer:
    """Prints to a console. Words from posts can neither colour nor move the cursor."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def opening(self, o: Opening) -> None:
        """What is trained, on what, for how long."""
        self._head("trained", f"of {o.model}")
        self._print(_trained(o))
        self._head("one row", o.shown.name)
        self._line(masked(o.shown, coloured=self._console.color_system is not None))
        self._line(_legend(o.shown))
        self._head("an epoch")
        self._print(_budget(o.budget))
        left = o.budget.left_out
        for name, reason in left[:NAMED]:
            self._line(Text(f"left out: {printable(name)}: {printable(reason)}", style="yellow"))
        if len(left) > NAMED:
            self._line(Text(f"left out: {len(left) - NAMED:,} more", style="yellow"))
        for note in o.notes:
            self.note(note)

    def planned(self, steps: int, seconds: float) -> None:
        """How long it will take, by the probe step."""
        self._head("training", f"{steps:,} steps, about {duration(seconds)}")

    def step(self, s: Step) -> None:
        """One line a logged step."""
        width = len(f"{s.steps:,}")
        told = [
            f"step {s.step:>{width},}/{s.steps:,}",
            f"epoch {s.epoch:.2f}",
            f"loss {s.loss:.4f}",
        ]
        told += [f"{name} {value:.4f}" for name, value in s.fields.items()]
        told += [f"{s.tokens_per_second:,.0f} tokens/s", f"lr {s.learning_rate:.2e}"]
        told += [] if s.grad_norm is None else [f"grad {s.grad_norm:.3f}"]
        self._line(Text("  ".join(told)))

    def figures(self, told: Mapping[str, Any]) -> None:
        """The figures of every dev source (`Judgement.as_json`), each with n and interval."""
        for source in told["sources"]:
            self._line(Text(_judged(source), style="bold"))

    def samples(self, j: Judgement) -> None:
        """Answers beside what gold says."""
        for s in j.samples:
            gold, said = tone_of(s.gold), tone_of(s.said)
            line = Text(f"{MARK[said]} {s.said or s.status}", style=STYLE.get(said, "yellow"))
            line.append(f"  (gold {gold})" if s.said != s.gold else "", style="dim")
            line.append(f"  {printable(s.aspect) or '(whole post)'}: ", style="bold")
            line.append(printable(s.explanation or (s.raw if s.said is None else "")))
            self._line(line)
            self._line(Text(f"    {printable(s.text)}", style="dim"))

    def closing(
        self, kept: Mapping[str, Any] | None, *, steps: int, seconds: float, folder: str
    ) -> None:
        """The figures of the checkpoint that was kept, with all that a figure is printed with."""
        self._head("done", f"{steps:,} steps in {duration(seconds)}; adapter in {folder}")
        if not kept or "sources" not in kept:
            self._line(Text("no dev source was judged: the last step is kept"))
            return
        score, seed = _percent(kept["score"]), kept["seed"]
        self._line(Text(f"kept: step {kept['step']:,}, dev score {score}, seed {seed}"))
        self.figures(kept)
        for s in kept["sources"]:
            told = f"{s['source']}: prompt {s['prompt']}, data {s['data_sha256'][:12]}"
            self._line(Text(printable(told), style="dim"))

    def note(self, text: str) -> None:
        """Something that is not as asked."""
        self._line(Text(f"note: {printable(text)}", style="yellow"))

    def _head(self, title: str, rest: str = "") -> None:
        self._line(
            Text(title, style="bold").append(f" {printable(rest)}" if rest else "", "not bold")
        )

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)

    def _print(self, table: Table) -> None:
        self._console.print(table, highlight=False)


def masked(shown: Shown, *, coloured: bool) -> Text:
    """A row with its fields in colours, or in marks: `[label| positive]`."""
    out = Text()
    pairs = zip(shown.tokens, shown.fields, strict=True)
    for name, run in groupby(pairs, key=lambda pair: pair[1]):
        text = _collapsed([token for token, _ in run])
        if name is None:
            lines = "\n".join(printable(line) for line in text.split("\n"))
            out.append(lines, style="dim")
            continue
        told = printable(text.replace("\n", "⏎"))
        out.append(told if coloured else f"[{name}|{told}]", style=STYLES.get(name, "red"))
    return out


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _collapsed(tokens: Iterable[str]) -> str:
    out = []
    for token, run in groupby(tokens):
        n = sum(1 for _ in run)
        many = n >= REPEATED and token.strip()
        out.append(f"{token}×{n} " if many else token * n)
    return "".join(out)


def _legend(shown: Shown) -> Text:
    """Each field's tokens and what they weigh together; `prompt` weighs nothing."""
    out = Text(f"prompt {sum(f is None for f in shown.fields)} tokens", style="dim")
    for name in dict.fromkeys(f for f in shown.fields if f is not None):
        weights = [w for w, f in zip(shown.weights, shown.fields, strict=True) if f == name]
        out.append(
            f"  {name} {len(weights)} × {sum(weights) / len(weights):.3g}", STYLES.get(name, "red")
        )
    return out


def _trained(o: Opening) -> Table:
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "right"):
        table.add_column(justify=justify)
    table.add_row("part", "tensors", "numbers", "of the model", style="dim")
    total = Part("in all", sum(p.tensors for p in o.parts), sum(p.numbers for p in o.parts))
    for p in (*o.parts, total):
        share = f"{p.numbers / o.parameters:.2%}" if o.parameters else "?"
        table.add_row(p.kind, f"{p.tensors:,}", f"{p.numbers:,}", share)
    return table


def _budget(b: Budget) -> Table:
    table = Table.grid(padding=(0, 2))
    size = f"longest {b.longest:,}, median {b.median:,}; at most {b.limit:,} a row"
    rows = [
        ("posts, rows", f"{b.posts:,}, {b.rows:,}"),
        ("tokens", f"{b.tokens:,} (a post: {size})"),
        ("of pictures", f"{b.picture_tokens:,}" if b.picture_tokens else "none"),
        ("padding", _percent(b.padding)),
        ("saved by sharing", _percent(b.shared)),
        ("without a reason", f"{b.without_reason:,} rows" if b.without_reason else "none"),
        ("left out", f"{len(b.left_out):,} rows" if b.left_out else "none"),
    ]
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value)
    return table


def _judged(s: Mapping[str, Any]) -> str:
    low, high = s["accuracy_95"]
    told = [f"dev {printable(s['source'])}", f"n {s['n']:,}", f"read {_percent(s['read_rate'])}"]
    told += [f"accuracy {_percent(s['accuracy'])} [{100 * low:.1f}, {100 * high:.1f}]"]
    told += [f"macro-F1 {_percent(s['macro_f1'])}"]
    told += [] if s["joint_f1"] is None else [f"joint F1 {_percent(s['joint_f1'])}"]
    if e := s["explanations"]:
        told += [f"reasons read {_percent(e['read_rate'])}"]
        told += [f"aspect named {_percent(e['aspect_named'])}"]
        told += [f"{e['quotes']:,} quotes, verbatim {_percent(e['quotes_verbatim'])}"]
    return "  ".join(told)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"
