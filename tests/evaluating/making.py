"""A small evaluation by the real pipeline, in our own words: results.json and samples.jsonl."""

from pathlib import Path

from gen_msa.data import Source
from gen_msa.evaluating import evaluate, load
from gen_msa.evaluating.suite import Suite
from gen_msa.results import Result
from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post, Status

NEGATIVE, NEUTRAL, POSITIVE = Polarity

SAID = (POSITIVE, NEGATIVE, None, NEUTRAL, POSITIVE, None, NEGATIVE, POSITIVE)
GOLD = (POSITIVE, NEGATIVE, NEUTRAL, POSITIVE, POSITIVE, NEGATIVE, NEGATIVE, None)


def examples() -> list[Example]:
    """Eight posts of one aspect, `model` on all but the sixth; the eighth has no gold polarity."""
    return [_example(i, g, s) for i, (g, s) in enumerate(zip(GOLD, SAID, strict=True))]


def _example(i: int, gold: Polarity | None, said: Polarity | None) -> Example:
    text = f"The soup of day {i} | was <b>like that</b>"
    aspect = Aspect(term="soup", start=4)
    media = (Media(kind="image", path=f"{i}.jpg"),)
    opinions = [Opinion(by="gold", aspect=aspect, polarity=gold)]
    if i != 5:
        opinions.append(
            Opinion(
                by="model",
                aspect=aspect,
                polarity=said,
                explanation="Because of the soup." if said else None,
                raw=f"Sentiment: {said or 'it depends'}",
                status=Status.OK if said else Status.UNPARSED,
                how={"prompt": "reader/full@12345678"},
            )
        )
    post = Post(id=f"p{i}", text=text, media=media, aspects=(aspect,))
    return Example(post=post, opinions=tuple(opinions))


def result() -> Result:
    """`model` against gold on those posts: 4 of 7 right, 2 unread."""
    source = Source("soups:dev", Path(), lambda: iter(examples()))
    plan = Suite(data="soups:dev", title="Soups", metrics=("labels", "quoting"), replicates=100)
    return evaluate(plan, load(source))


def write(folder: Path) -> Path:
    """Both files in `folder`; the path of results.json."""
    path = folder / "results.json"
    path.write_text(result().model_dump_json(), encoding="utf-8")
    lines = "".join(e.model_dump_json() + "\n" for e in examples())
    (folder / "samples.jsonl").write_text(lines, encoding="utf-8")
    return path
