"""Predictors of a few lines, each of which uses one input only, and posts for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gen_msa.cues import CueSource
from gen_msa.evaluation.probes import run_probes
from gen_msa.predictors import Prediction, PredictorSettings, RequestPreview
from gen_msa.types import Aspect, Cue, Evidence, Example, Media, Opinion, Polarity, Post

NEG, NEU, POS = Polarity
FILLER_TEXT = "we took the late tram to that old harbour and sat there for one whole windy hour"
FILLER_WORDS = FILLER_TEXT.split()

PolarityRule = Callable[[Post, Aspect], Polarity]
ExplanationRule = Callable[[Post, Aspect, Polarity], str]
QuoteRule = Callable[[Post, Aspect], str]


@dataclass
class FakePredictor:
    """Predicts by a rule with probability .98, and records the posts it received."""

    rule: PolarityRule
    explain: ExplanationRule | None = None
    quote: QuoteRule | None = None
    gives_probs: bool = True
    received_posts: list[Post] = field(default_factory=list)

    def predict(self, posts):
        self.received_posts += posts
        return [Prediction(tuple(self.opinion(p, a) for a in p.aspects)) for p in posts]

    def opinion(self, post, aspect):
        label = self.rule(post, aspect)
        quote_text = self.quote(post, aspect) if self.quote else ""
        start = post.text.find(quote_text) if quote_text else -1
        return Opinion(
            annotator="double",
            aspect=aspect,
            polarity=label,
            probs={p: 0.98 if p is label else 0.01 for p in Polarity} if self.gives_probs else None,
            explanation=self.explain(post, aspect, label) if self.explain else None,
            evidence=(Evidence(quote=quote_text, start=start),) if start >= 0 else (),
        )

    def preview(self, posts):
        return []

    def fingerprint(self):
        return {}


@dataclass
class FakeCuePredictor(FakePredictor):
    """A fake predictor whose rule gets one cue per question."""

    source: CueSource | None = None

    def predict(self, posts):
        predictions = []
        for post, cues in zip(posts, self.source.cues(posts), strict=True):
            hinted_posts = [post.model_copy(update={"meta": {"hint": c.text}}) for c in cues]
            pairs = zip(hinted_posts, post.aspects, strict=True)
            predictions.append(Prediction(tuple(self.opinion(s, a) for s, a in pairs)))
        self.received_posts += posts
        return predictions

    def preview(self, posts):
        return [
            RequestPreview(
                post, a.term, (), {"hint": c.text}, f"{post.text}|{a.term}|{c.text}", 0, 0, {}
            )
            for post, cues in zip(posts, self.source.cues(posts), strict=True)
            for a, c in zip(post.aspects, cues, strict=True)
        ]

    def with_cues(self, change):
        return FakeCuePredictor(
            self.rule, source=change(self.source), received_posts=self.received_posts
        )


class GoldWordCueSource:
    """A cue that is one word of `Post.meta`, by aspect."""

    slot = "hint"

    def cues(self, posts):
        return [
            tuple(Cue(text=str(p.meta.get(a.term, "")), source="meta") for a in p.aspects)
            for p in posts
        ]

    def fingerprint(self):
        return "gold word"


def kettle_post(i: int, word: str, *, media: tuple[Media, ...] = ()) -> Post:
    """Build a post about a kettle with one deciding word at a varying position."""
    words = FILLER_WORDS[i % 5 : i % 5 + 12]
    words[i % 11 : i % 11] = [word]
    text = f"kettle {i}: " + " ".join(words)
    return Post(id=f"s{i}", text=text, media=media, aspects=(Aspect(term="kettle", start=0),))


def decided_examples(n: int, *, words=("dreadful", "plain", "splendid")) -> list[Example]:
    """Build `n` posts whose gold label follows from one word."""
    return [with_gold(kettle_post(i, words[i % 3]), list(Polarity)[i % 3]) for i in range(n)]


def with_gold(post: Post, *labels: Polarity, explanation: str | None = None) -> Example:
    """Add a gold label for each aspect of a post."""
    return Example(
        post=post,
        opinions=tuple(
            Opinion(annotator="gold", aspect=a, polarity=label, explanation=explanation)
            for a, label in zip(post.aspects, labels, strict=True)
        ),
    )


def two_aspect_examples(n: int) -> list[Example]:
    """Build `n` posts with one praised and one criticized aspect."""
    examples = []
    for i in range(n):
        a, b = ("kettle", "teapot") if i % 2 else ("teapot", "kettle")
        text = f"The {a} is splendid and the {b} is dreadful, number {i}"
        first = Aspect(term=a, start=4)
        second = Aspect(term=b, start=text.index(f"the {b}") + 4)
        examples.append(with_gold(Post(id=f"t{i}", text=text, aspects=(first, second)), POS, NEG))
    return examples


def polarity_by_word(post: Post, aspect: Aspect) -> Polarity:
    """Predict from one word of the text."""
    if "dreadful" in post.text:
        return NEG
    return POS if "splendid" in post.text else NEU


def run_probe(name, predictor, examples, *, root=Path(), options=None, settings=None, **kwargs):
    """Run one probe on the predictions of a fake predictor, whose received posts are reset."""
    predictions = predictor.predict([e.post for e in examples])
    if isinstance(predictor, FakePredictor):
        predictor.received_posts.clear()
    settings = settings or PredictorSettings()
    kwargs = {"replicates": 500} | kwargs
    return run_probes(
        {name: options or {}}, predictor, settings, examples, predictions, root, **kwargs
    )[name]
