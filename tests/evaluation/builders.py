"""A small evaluation by the real pipeline: results.json and samples.jsonl."""

from pathlib import Path

from gen_msa.data import ExampleSource
from gen_msa.evaluation import evaluate, load_examples
from gen_msa.evaluation.suite import Suite
from gen_msa.results import EvaluationResult
from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post, Status

NEGATIVE, NEUTRAL, POSITIVE = Polarity

PREDICTED = (POSITIVE, NEGATIVE, None, NEUTRAL, POSITIVE, None, NEGATIVE, POSITIVE)
GOLD = (POSITIVE, NEGATIVE, NEUTRAL, POSITIVE, POSITIVE, NEGATIVE, NEGATIVE, None)


def examples() -> list[Example]:
    """Build eight posts of one aspect; `model` skips the sixth, the eighth has no gold polarity."""
    return [_example(i, g, s) for i, (g, s) in enumerate(zip(GOLD, PREDICTED, strict=True))]


def _example(i: int, gold: Polarity | None, predicted: Polarity | None) -> Example:
    text = f"The soup of day {i} | was <b>like that</b>"
    aspect = Aspect(term="soup", start=4)
    media = (Media(kind="image", path=f"{i}.jpg"),)
    opinions = [Opinion(annotator="gold", aspect=aspect, polarity=gold)]
    if i != 5:
        opinions.append(
            Opinion(
                annotator="model",
                aspect=aspect,
                polarity=predicted,
                explanation="Because of the soup." if predicted else None,
                raw=f"Sentiment: {predicted or 'it depends'}",
                status=Status.OK if predicted else Status.UNPARSED,
                provenance={"prompt": "predict/full@12345678"},
            )
        )
    post = Post(id=f"p{i}", text=text, media=media, aspects=(aspect,))
    return Example(post=post, opinions=tuple(opinions))


def evaluation_result() -> EvaluationResult:
    """Evaluate `model` on those posts: 4 of 7 correct, 2 unparsed."""
    source = ExampleSource("soups:dev", Path(), lambda: iter(examples()))
    suite = Suite(
        data="soups:dev", title="Soups", metrics=("labels", "quote_fidelity"), replicates=100
    )
    return evaluate(suite, load_examples(source))


def write_evaluation_files(folder: Path) -> Path:
    """Write both files into `folder` and return the path of results.json."""
    path = folder / "results.json"
    path.write_text(evaluation_result().model_dump_json(), encoding="utf-8")
    lines = "".join(e.model_dump_json() + "\n" for e in examples())
    (folder / "samples.jsonl").write_text(lines, encoding="utf-8")
    return path
