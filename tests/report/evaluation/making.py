"""An evaluation of three readers over posts in words of our own: its result and its examples."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from gen_msa.report.evaluation import write_evaluation
from gen_msa.results import (
    Bin,
    Comparison,
    Cost,
    Definition,
    Level,
    Published,
    ReaderResult,
    Result,
    Shown,
    Unread,
    Value,
)
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Polarity, Post, Status
from tests.report.making import Seen, draw

NEG, NEU, POS = Polarity
NAMES = ("builtin", "MiniLM, text only", "majority")
THINGS = [
    "screen",
    "battery",
    "soup",
    "waiter",
    "train",
    "beach",
    "song",
    "lens",
    "coffee",
    "queue",
]
WORDS = {
    NEG: ["awful", "cold and late", "broken again", "far too loud"],
    NEU: ["where it was", "the usual one", "open until nine", "blue"],
    POS: ["lovely", "sharp as ever", "worth the walk", "a small wonder"],
}
SURE = {"builtin": 0.8, "MiniLM, text only": 0.7, "majority": 0.5}

DEFINITIONS = tuple(
    Definition(family=f, name=n, about=about, unit=unit, better=better, signature=sig)
    for f, n, about, unit, better, sig in [
        (
            "labels",
            "accuracy",
            "Share of gold opinions read as gold has them.",
            "share",
            "high",
            "",
        ),
        ("labels", "macro_f1", "Mean of the three classes' F1.", "share", "high", ""),
        *(
            ("labels", f"f1_{p}", f"2TP / (2TP + FP + FN) of {p}.", "share", "high", "")
            for p in Polarity
        ),
        ("calibration", "ece", "Mean gap of confidence and accuracy, 15 bins.", "score", "low", ""),
        ("calibration", "brier", "Mean squared error of the probabilities.", "score", "low", ""),
        ("wording", "length", "Words of an explanation.", "words", "", ""),
        ("quoting", "verbatim", "Share of quotes that stand in the post.", "share", "high", ""),
        ("bleu", "bleu", "Corpus BLEU against gold's reasons.", "points", "high", "13a, v2.5"),
    ]
)


def value(x: float | None, n: int = 900, half: float = 0.02, **more) -> Value:
    """A figure with an interval of `half` on each side."""
    if x is None:
        return Value(value=None, n=0, **more)
    how = "cluster bootstrap, 10000 replicates, seed 0"
    return Value(value=x, n=n, low=x - half, high=x + half * 0.9, how=how, **more)


def examples(posts: int, seed: int = 0, pictures: int = 7) -> Iterator[Example]:
    """Posts with two aspects, gold, and what the three readers say of each."""
    dice = Random(seed)
    for number in range(posts):
        first, second = dice.sample(THINGS, 2)
        gold = [dice.choice((NEG, NEU, NEU, POS)) for _ in range(2)]
        said = [dice.choice(WORDS[g]) for g in gold]
        text = f"The {first} was {said[0]}, and the {second} {said[1]} 😀 ({number})"
        aspects = (
            Aspect(term=first, start=4),
            Aspect(term=second, start=text.index(f"the {second} ") + 4),
        )
        media = (Media(kind="image", path=f"{number % pictures}.png"),) if number % 3 else ()
        opinions = []
        for aspect, label, words in zip(aspects, gold, said, strict=True):
            opinions.append(Opinion(by="gold", aspect=aspect, polarity=label))
            opinions += [_says(dice, n, aspect, label, words, text) for n in NAMES]
        post = Post(id=f"post-{number}", text=text, media=media, aspects=aspects)
        yield Example(post=post, opinions=tuple(opinions))


def _says(dice: Random, by: str, aspect: Aspect, gold: Polarity, words: str, text: str) -> Opinion:
    if by == "builtin" and dice.random() < 0.03:
        raw = "Some of both, one could say; it depends."
        return Opinion(by=by, aspect=aspect, raw=raw, status=Status.UNPARSED)
    label = gold if dice.random() < SURE[by] else dice.choice(list(Polarity))
    label = NEU if by == "majority" else label
    p = 0.4 + 0.55 * dice.random()
    quote = Evidence(quote=words, start=text.index(words))
    return Opinion(
        by=by,
        aspect=aspect,
        polarity=label,
        probs={q: p if q == label else (1 - p) / 2 for q in Polarity},
        explanation=f"The post calls the {aspect.term} {words}." if by == "builtin" else None,
        evidence=(quote,) if by == "builtin" else (),
        how={"prompt": "reader/full@12ab34cd"} if by == "builtin" else {},
    )


def reader(name: str, at: int, rows: int = 900, **more) -> ReaderResult:
    """What one reader made of it; `at` makes the figures differ."""
    acc = (0.781, 0.742, 0.588)[at % 3]
    classes = {f"f1_{p}": value(acc - 0.06 * i, rows // 3, 0.04) for i, p in enumerate(Polarity)}
    explains = at == 0
    silent = "this reader gives no explanations"
    made = {
        "name": name,
        "reader": ("builtin", "student:minilm", "majority")[at % 3],
        "facts": {"prompt": "reader/full@12ab34cd", "seed": 0, "picture": None},
        "rows": rows,
        "posts": rows // 2,
        "silent": 3 * (at == 1),
        "figures": {
            "labels": {
                "accuracy": value(
                    acc, rows, 0.025, seeds=(acc - 0.01, acc, acc + 0.01) * (at == 1)
                ),
                "macro_f1": value(acc - 0.04, rows, 0.03),
                **classes,
            },
            "calibration": {"ece": value(0.04 + 0.03 * at, rows, 0.01), "brier": value(0.31, rows)},
            "wording": {"length": value(7.4, 880, 0.2) if explains else value(None, note=silent)},
            "quoting": {
                "verbatim": value(0.99, 880, 0.01) if explains else value(None, note=silent)
            },
        },
        "confusion": _confusion(rows, acc),
        "calibration": _bins(rows, at),
        "levels": tuple(_levels(rows, acc)),
        "cost": Cost(
            posts=rows // 2,
            seconds=None if at == 2 else 41.5 + 100 * at,
            cpu_seconds=39.9 if at < 2 else None,
            machine="2 cores, 8 GB",
        ),
        "notes": ("bleu: gold gives no reasons to compare with",),
    }
    if at == 0:
        answers = ("Some of both, one could say; it depends.", "", "pos/neg " * 400)
        statuses = ("unparsed", "empty", "length")
        made["unread"] = tuple(
            Unread(post=f"post-{i}", aspect=THINGS[i], status=statuses[i % 3], raw=answers[i % 3])
            for i in range(7)
        )
    return ReaderResult(**{**made, **more})


def _confusion(rows: int, acc: float) -> dict[str, dict[str, int]]:
    third = rows // 3
    out = {}
    for gold in Polarity:
        right = int(third * acc)
        rest = {p.value: (third - right) // 2 for p in Polarity if p != gold}
        out[gold.value] = {gold.value: right, **rest, "unread": third - right - sum(rest.values())}
    return out


def _bins(rows: int, at: int) -> tuple[Bin, ...]:
    out = []
    for i in range(15):
        n = 0 if i < 5 else rows * (i - 3) ** (at + 1) // (300 * 4**at)
        middle = (i + 0.5) / 15
        right = max(0.0, min(1.0, middle - 0.07 * at * (i - 7) / 7))
        out.append(Bin(low=i / 15, high=(i + 1) / 15, n=n, confidence=middle, accuracy=right))
    return tuple(out)


def _levels(rows: int, acc: float) -> Iterator[Level]:
    cuts = {
        "aspects": ["1", "2", "3 and more"],
        "aspect visible in the picture": ["yes", "no", "not known"],
        "words": ["up to 9", "10 to 19", "20 and more"],
        "negation": ["yes", "no"],
        "has a picture": ["yes", "no"],
    }
    for name, levels in cuts.items():
        for i, level in enumerate(levels):
            n = max(1, rows // (2 + 3 * i))
            figures = {
                "accuracy": value(acc - 0.05 * i, n, n**-0.5),
                "macro_f1": value(acc - 0.04 - 0.05 * i, n, n**-0.5),
            }
            yield Level(slice=name, level=level, n=n, figures=figures)


def comparison(a: str, b: str, difference: float, p: float, figure: str = "accuracy") -> Comparison:
    return Comparison(
        a=a,
        b=b,
        family="labels",
        figure=figure,
        difference=difference,
        low=difference - 0.03,
        high=difference + 0.03,
        how="paired cluster bootstrap, 10000 replicates, seed 0",
        test="McNemar, exact" if figure == "accuracy" else "permutation, 10000, seed 0",
        p=p,
        p_adjusted=min(1.0, 3 * p),
        adjustment="Holm over 6",
    )


def result(**more) -> Result:
    """Three readers; the first is better than both by accuracy, not by macro-F1."""
    a, b, c = NAMES
    probe = {"flipped": value(0.31, 200), "accuracy": value(0.66, 200, 0.05)}
    made = {
        "title": "Small talk, dev",
        "data": "small_talk:dev",
        "data_sha256": "9f2c" * 16,
        "against": "gold",
        "posts": 450,
        "rows": 900,
        "clusters": 411,
        "clustered_by": "picture",
        "rejected": 2,
        "seed": 0,
        "replicates": 10_000,
        "version": "0.4.0",
        "definitions": DEFINITIONS,
        "readers": tuple(reader(name, at) for at, name in enumerate(NAMES)),
        "comparisons": (
            comparison(a, b, 0.039, 0.004),
            comparison(a, c, 0.193, 1e-9),
            comparison(b, c, 0.154, 1e-7),
            comparison(a, b, 0.039, 0.2, "macro_f1"),
            comparison(a, c, 0.193, 1e-6, "macro_f1"),
            comparison(b, c, 0.154, 1e-5, "macro_f1"),
        ),
        "published": (
            Published(
                name="A Paper's Net",
                figures={"labels.accuracy": 0.794, "labels.macro_f1": 0.751},
                source="Writer et al., Journal of Small Talk 12, table 3.",
                protocol="Test split, BERT-base, macro-F1, mean of 5 seeds, best epoch on dev.",
            ),
        ),
        "disagreements": tuple(
            Shown(post=f"post-{i}", aspect=_second(i), why="two readers say otherwise than gold")
            for i in range(8)
        ),
        "best": (
            Shown(post="post-1", aspect=_second(1), why="names its aspect and quotes the post"),
        ),
        "worst": (
            Shown(post="post-2", aspect=_second(2), why="quotes what the post does not say"),
        ),
        "probes": {
            a: {"aspect_swap": probe, "no_picture": {"flipped": value(0.06, 200)}},
            b: {"aspect_swap": {"flipped": value(None, note="no other aspect in any post")}},
        },
        "notes": ("Explanations were scored without references: gold gives none.",),
    }
    return Result(**{**made, **more})


def _second(number: int) -> str:
    """The second aspect of a post that `examples` makes."""
    for at, example in enumerate(examples(number + 1)):
        if at == number:
            return example.post.aspects[1].term
    raise ValueError(number)


def shown(tmp_path: Path, res: Result, rows=(), **options) -> Seen:
    """The page of a result, parsed."""
    path = tmp_path / "evaluation.html"
    write_evaluation(res, rows, path, tmp_path, draw=draw, **options)
    return Seen(path.read_text("utf-8"))
