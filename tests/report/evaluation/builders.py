"""An evaluation of three systems: its result and its examples."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from gen_msa.report.evaluation import write_evaluation
from gen_msa.results import (
    CalibrationBin,
    EvaluationResult,
    MetricDefinition,
    MetricValue,
    PairedComparison,
    PublishedResult,
    RunCost,
    SelectedRow,
    SliceMetrics,
    SystemResult,
    UnparsedAnswer,
)
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Polarity, Post, Status
from tests.report.builders import ParsedPage, fake_thumbnail

NEG, NEU, POS = Polarity
NAMES = ("builtin", "MiniLM, text only", "majority")
TERMS = [
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
PHRASES = {
    NEG: ["awful", "cold and late", "broken again", "far too loud"],
    NEU: ["where it was", "the usual one", "open until nine", "blue"],
    POS: ["lovely", "sharp as ever", "worth the walk", "a small wonder"],
}
ACCURACY_OF = {"builtin": 0.8, "MiniLM, text only": 0.7, "majority": 0.5}

DEFINITIONS = tuple(
    MetricDefinition(family=f, name=n, about=about, unit=unit, better=better, signature=sig)
    for f, n, about, unit, better, sig in [
        (
            "labels",
            "accuracy",
            "Share of gold opinions that were predicted correctly.",
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
        ("text_stats", "length", "Words of an explanation.", "words", "", ""),
        (
            "quote_fidelity",
            "verbatim",
            "Share of quotes that stand in the post.",
            "share",
            "high",
            "",
        ),
        ("bleu", "bleu", "Corpus BLEU against gold explanations.", "points", "high", "13a, v2.5"),
    ]
)


def metric_value(x: float | None, n: int = 900, half_width: float = 0.02, **fields) -> MetricValue:
    """Build a value with an interval of about `half_width` on each side."""
    if x is None:
        return MetricValue(value=None, n=0, **fields)
    method = "cluster bootstrap, 10000 replicates, seed 0"
    return MetricValue(
        value=x, n=n, low=x - half_width, high=x + half_width * 0.9, method=method, **fields
    )


def examples(posts: int, seed: int = 0, n_images: int = 7) -> Iterator[Example]:
    """Yield posts with two aspects, gold, and the opinions of three systems."""
    rng = Random(seed)
    for number in range(posts):
        first, second = rng.sample(TERMS, 2)
        gold = [rng.choice((NEG, NEU, NEU, POS)) for _ in range(2)]
        phrases = [rng.choice(PHRASES[g]) for g in gold]
        text = f"The {first} was {phrases[0]}, and the {second} {phrases[1]} 😀 ({number})"
        aspects = (
            Aspect(term=first, start=4),
            Aspect(term=second, start=text.index(f"the {second} ") + 4),
        )
        media = (Media(kind="image", path=f"{number % n_images}.png"),) if number % 3 else ()
        opinions = []
        for aspect, label, phrase in zip(aspects, gold, phrases, strict=True):
            opinions.append(Opinion(annotator="gold", aspect=aspect, polarity=label))
            opinions += [_make_opinion(rng, n, aspect, label, phrase, text) for n in NAMES]
        post = Post(id=f"post-{number}", text=text, media=media, aspects=aspects)
        yield Example(post=post, opinions=tuple(opinions))


def _make_opinion(
    rng: Random, annotator: str, aspect: Aspect, gold: Polarity, phrase: str, text: str
) -> Opinion:
    if annotator == "builtin" and rng.random() < 0.03:
        raw = "Some of both, one could say; it depends."
        return Opinion(annotator=annotator, aspect=aspect, raw=raw, status=Status.UNPARSED)
    label = gold if rng.random() < ACCURACY_OF[annotator] else rng.choice(list(Polarity))
    label = NEU if annotator == "majority" else label
    p = 0.4 + 0.55 * rng.random()
    quote = Evidence(quote=phrase, start=text.index(phrase))
    return Opinion(
        annotator=annotator,
        aspect=aspect,
        polarity=label,
        probs={q: p if q == label else (1 - p) / 2 for q in Polarity},
        explanation=f"The post calls the {aspect.term} {phrase}."
        if annotator == "builtin"
        else None,
        evidence=(quote,) if annotator == "builtin" else (),
        provenance={"prompt": "predict/full@12ab34cd"} if annotator == "builtin" else {},
    )


def system_result(name: str, index: int, rows: int = 900, **overrides) -> SystemResult:
    """Build the result of one system; `index` makes the values differ."""
    acc = (0.781, 0.742, 0.588)[index % 3]
    classes = {
        f"f1_{p}": metric_value(acc - 0.06 * i, rows // 3, 0.04) for i, p in enumerate(Polarity)
    }
    explains = index == 0
    note = "this system gives no explanations"
    fields = {
        "name": name,
        "model": ("builtin", "student:minilm", "majority")[index % 3],
        "fingerprint": {"prompt": "predict/full@12ab34cd", "seed": 0, "image": None},
        "rows": rows,
        "posts": rows // 2,
        "n_missing": 3 * (index == 1),
        "metrics": {
            "labels": {
                "accuracy": metric_value(
                    acc, rows, 0.025, seeds=(acc - 0.01, acc, acc + 0.01) * (index == 1)
                ),
                "macro_f1": metric_value(acc - 0.04, rows, 0.03),
                **classes,
            },
            "calibration": {
                "ece": metric_value(0.04 + 0.03 * index, rows, 0.01),
                "brier": metric_value(0.31, rows),
            },
            "text_stats": {
                "length": metric_value(7.4, 880, 0.2) if explains else metric_value(None, note=note)
            },
            "quote_fidelity": {
                "verbatim": metric_value(0.99, 880, 0.01)
                if explains
                else metric_value(None, note=note)
            },
        },
        "confusion": _confusion(rows, acc),
        "calibration": _calibration_bins(rows, index),
        "slices": tuple(_slices(rows, acc)),
        "cost": RunCost(
            posts=rows // 2,
            seconds=None if index == 2 else 41.5 + 100 * index,
            cpu_seconds=39.9 if index < 2 else None,
            machine="2 cores, 8 GB",
        ),
        "notes": ("bleu: gold gives no explanations to compare with",),
    }
    if index == 0:
        answers = ("Some of both, one could say; it depends.", "", "pos/neg " * 400)
        statuses = ("unparsed", "empty", "length")
        fields["unparsed"] = tuple(
            UnparsedAnswer(
                post=f"post-{i}", aspect=TERMS[i], status=statuses[i % 3], raw=answers[i % 3]
            )
            for i in range(7)
        )
    return SystemResult(**{**fields, **overrides})


def _confusion(rows: int, acc: float) -> dict[str, dict[str, int]]:
    third = rows // 3
    matrix = {}
    for gold in Polarity:
        n_correct = int(third * acc)
        rest = {p.value: (third - n_correct) // 2 for p in Polarity if p != gold}
        matrix[gold.value] = {
            gold.value: n_correct,
            **rest,
            "unparsed": third - n_correct - sum(rest.values()),
        }
    return matrix


def _calibration_bins(rows: int, index: int) -> tuple[CalibrationBin, ...]:
    bins = []
    for i in range(15):
        n = 0 if i < 5 else rows * (i - 3) ** (index + 1) // (300 * 4**index)
        middle = (i + 0.5) / 15
        accuracy = max(0.0, min(1.0, middle - 0.07 * index * (i - 7) / 7))
        bins.append(
            CalibrationBin(low=i / 15, high=(i + 1) / 15, n=n, confidence=middle, accuracy=accuracy)
        )
    return tuple(bins)


def _slices(rows: int, acc: float) -> Iterator[SliceMetrics]:
    levels_by_slice = {
        "aspects": ["1", "2", "3 and more"],
        "aspect visible in the image": ["yes", "no", "not known"],
        "words": ["up to 9", "10 to 19", "20 and more"],
        "negation": ["yes", "no"],
        "has an image": ["yes", "no"],
    }
    for name, levels in levels_by_slice.items():
        for i, level in enumerate(levels):
            n = max(1, rows // (2 + 3 * i))
            metrics = {
                "accuracy": metric_value(acc - 0.05 * i, n, n**-0.5),
                "macro_f1": metric_value(acc - 0.04 - 0.05 * i, n, n**-0.5),
            }
            yield SliceMetrics(slice=name, level=level, n=n, metrics=metrics)


def comparison(
    a: str, b: str, difference: float, p: float, metric: str = "accuracy"
) -> PairedComparison:
    return PairedComparison(
        a=a,
        b=b,
        family="labels",
        metric=metric,
        difference=difference,
        low=difference - 0.03,
        high=difference + 0.03,
        method="paired cluster bootstrap, 10000 replicates, seed 0",
        test="McNemar, exact" if metric == "accuracy" else "permutation, 10000, seed 0",
        p=p,
        p_adjusted=min(1.0, 3 * p),
        adjustment="Holm over 6",
    )


def evaluation_result(**overrides) -> EvaluationResult:
    """Build a result of three systems; the first is the best by accuracy, not by macro-F1."""
    a, b, c = NAMES
    probe = {"flipped": metric_value(0.31, 200), "accuracy": metric_value(0.66, 200, 0.05)}
    fields = {
        "title": "Small talk, dev",
        "data": "small_talk:dev",
        "data_sha256": "9f2c" * 16,
        "reference": "gold",
        "posts": 450,
        "rows": 900,
        "clusters": 411,
        "clustered_by": "image",
        "rejected": 2,
        "seed": 0,
        "replicates": 10_000,
        "version": "0.4.0",
        "definitions": DEFINITIONS,
        "systems": tuple(system_result(name, index) for index, name in enumerate(NAMES)),
        "comparisons": (
            comparison(a, b, 0.039, 0.004),
            comparison(a, c, 0.193, 1e-9),
            comparison(b, c, 0.154, 1e-7),
            comparison(a, b, 0.039, 0.2, "macro_f1"),
            comparison(a, c, 0.193, 1e-6, "macro_f1"),
            comparison(b, c, 0.154, 1e-5, "macro_f1"),
        ),
        "published": (
            PublishedResult(
                name="A Paper's Net",
                metrics={"labels.accuracy": 0.794, "labels.macro_f1": 0.751},
                source="Writer et al., Journal of Small Talk 12, table 3.",
                protocol="Test split, BERT-base, macro-F1, mean of 5 seeds, best epoch on dev.",
            ),
        ),
        "disagreements": tuple(
            SelectedRow(
                post=f"post-{i}",
                aspect=_second_term(i),
                reason="two systems disagree with gold",
            )
            for i in range(8)
        ),
        "best": (
            SelectedRow(
                post="post-1", aspect=_second_term(1), reason="names its aspect and quotes the post"
            ),
        ),
        "worst": (
            SelectedRow(
                post="post-2", aspect=_second_term(2), reason="quotes what the post does not say"
            ),
        ),
        "probes": {
            a: {"aspect_swap": probe, "no_image": {"flipped": metric_value(0.06, 200)}},
            b: {"aspect_swap": {"flipped": metric_value(None, note="no other aspect in any post")}},
        },
        "notes": ("Explanations were scored without references: gold gives none.",),
    }
    return EvaluationResult(**{**fields, **overrides})


def _second_term(number: int) -> str:
    """Return the second aspect of a post that `examples` builds."""
    for index, example in enumerate(examples(number + 1)):
        if index == number:
            return example.post.aspects[1].term
    raise ValueError(number)


def render_result(tmp_path: Path, evaluation: EvaluationResult, rows=(), **options) -> ParsedPage:
    """Render the page of a result and parse it."""
    path = tmp_path / "evaluation.html"
    write_evaluation(evaluation, rows, path, tmp_path, draw=fake_thumbnail, **options)
    return ParsedPage(path.read_text("utf-8"))
