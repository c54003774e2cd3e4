"""What a run says: at its start, at each logged step, after each judgement, and at its end.

Colours on a terminal; piped, plain text in which the fields of an answer are marked as in
`[label| positive]`. Takes plain facts; knows no tensors and computes nothing about them.

    teller = Teller(Console(stderr=True))
    teller.opening(Opening(...)); teller.step(Step(...)); teller.judged(judgement)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gen_msa.finetuning.judgement import Judgement
from gen_msa.report.visible import MARK, STYLE, printable, tone_of

STYLES = {"label": "bold green", "explanation": "cyan", "aspect": "magenta", "form": "yellow"}
"""How the tokens of each field look; the prompt, which has no loss, is dim."""

NAMED = 5
"""Rows that are left out and named; the others are counted."""
REPEATED = 4
"""A run of this many equal tokens (a picture's) is shown as one with its count."""


@dataclass(frozen=True)
class Part:
    """What is trained of one kind: attention, mlp, projector, vision, …"""

    kind: str
    tensors: int
    numbers: int


def parts(tensors: Iterable[tuple[str, int]]) -> tuple[Part, ...]:
    """Trained tensors, each a (kind, count of numbers), counted by kind, largest first."""
    found: dict[str, list[int]] = {}
    for kind, count in tensors:
        found.setdefault(kind, []).append(count)
    return tuple(
        sorted((Part(k, len(c), sum(c)) for k, c in found.items()), key=lambda p: -p.numbers)
    )


@dataclass(frozen=True)
class Shown:
    """One row as the model is trained on it: three lists of the same length."""

    name: str
    tokens: Sequence[str]
    """Each token as text."""
    fields: Sequence[str | None]
    """The field each belongs to; None in the prompt, which has no loss."""
    weights: Sequence[float]


@dataclass(frozen=True)
class Budget:
    """What an epoch costs."""

    posts: int
    rows: int
    tokens: int
    """As the model is fed, shared prefixes once, padding not counted."""
    longest: int
    median: int
    limit: int
    """Tokens of the longest row that is allowed."""
    picture_tokens: int = 0
    padding: float = 0.0
    """Share of all places that is padding, 0..1."""
    shared: float = 0.0
    """Share of tokens saved by reading a post once for all its aspects, 0..1."""
    without_reason: int = 0
    """Rows whose label alone is learned."""
    left_out: Sequence[tuple[str, str]] = ()
    """(row, reason) of all that cannot be used."""


@dataclass(frozen=True)
class Opening:
    """Everything that is said before the first step."""

    model: str
    parameters: int
    """Of the whole model, adapter included."""
    parts: Sequence[Part]
    shown: Shown
    budget: Budget
    steps: int
    seconds: float | None = None
    """Estimated from the probe step, which is made of the longest batch."""
    notes: Sequence[str] = ()
    """What is not as asked: a lever that cannot be used, a run that is gone on with."""


@dataclass(frozen=True)
class Step:
    """One logged optimiser step; figures are means since the last one."""

    step: int
    steps: int
    epoch: float
    loss: float
    fields: dict[str, float]
    """Unweighted mean cross-entropy of each field, in nats."""
    tokens_per_second: float
    learning_rate: float
    grad_norm: float | None
    more: dict[str, float] = field(default_factory=dict)
    """Anything else to be logged and not printed, such as memory."""


class Teller:
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
            self._line(Text(f"note: {printable(note)}", style="yellow"))
        about = "" if o.seconds is None else f", about {duration(o.seconds)}"
        self._head("training", f"{o.steps:,} steps{about}")

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

    def judged(self, j: Judgement) -> None:
        """The figures of every dev source, each with n and interval."""
        for s in j.sources:
            low, high = s.scores.interval
            told = [f"dev {s.source}", f"n {s.scores.n:,}", f"read {_percent(s.scores.read_rate)}"]
            told += [f"accuracy {_percent(s.scores.accuracy)} [{100 * low:.1f}, {100 * high:.1f}]"]
            told += [f"macro-F1 {_percent(s.scores.macro_f1)}"]
            told += [] if s.joint_f1 is None else [f"joint F1 {_percent(s.joint_f1)}"]
            if e := s.explained:
                told += [
                    f"reasons read {_percent(e.read_rate)}",
                    f"aspect named {_percent(e.named_rate)}",
                ]
                told += [f"{e.quotes:,} quotes, verbatim {_percent(e.verbatim_rate)}"]
            self._line(Text("  ".join(told), style="bold"))

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

    def closing(self, j: Judgement | None, *, steps: int, seconds: float, folder: str) -> None:
        """The figures of the checkpoint that was kept, with all that a figure is printed with."""
        self._head("done", f"{steps:,} steps in {duration(seconds)}; adapter in {folder}")
        if j is None:
            self._line(Text("no dev source: the last step was kept"))
            return
        self._line(Text(f"kept: step {j.step}, dev score {_percent(j.score)}, seed {j.seed}"))
        self.judged(j)
        for s in j.sources:
            self._line(
                Text(f"{s.source}: prompt {s.prompt}, data {s.data_sha256[:12]}", style="dim")
            )

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
        share = f"{p.numbers / o.parameters:.2%}"
        table.add_row(p.kind, f"{p.tensors:,}", f"{p.numbers:,}", share)
    return table


def _budget(b: Budget) -> Table:
    table = Table.grid(padding=(0, 2))
    rows = [
        ("posts, rows", f"{b.posts:,}, {b.rows:,}"),
        (
            "tokens",
            f"{b.tokens:,} (a post: longest {b.longest:,}, median {b.median:,}; at most {b.limit:,} a row)",
        ),
        ("of pictures", f"{b.picture_tokens:,}" if b.picture_tokens else "none"),
        ("padding", _percent(b.padding)),
        ("saved by sharing", _percent(b.shared)),
        ("without a reason", f"{b.without_reason:,} rows" if b.without_reason else "none"),
        ("left out", f"{len(b.left_out):,} rows" if b.left_out else "none"),
    ]
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value)
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"
