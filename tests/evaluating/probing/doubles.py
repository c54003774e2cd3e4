"""Readers of a few lines, each of which looks at one thing only, and posts for them to read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gen_msa.cues import CueSource
from gen_msa.evaluating.probing import probe
from gen_msa.readers import ReaderSettings, Reading, Shown
from gen_msa.types import Aspect, Cue, Evidence, Example, Media, Opinion, Polarity, Post

NEG, NEU, POS = Polarity
WORDS = "we took the late tram to that old harbour and sat there for one whole windy hour"
FILL = WORDS.split()

Rule = Callable[[Post, Aspect], Polarity]
Reason = Callable[[Post, Aspect, Polarity], str]
Quote = Callable[[Post, Aspect], str]


@dataclass
class Double:
    """Says what its rule says, .98 sure of it, and remembers what it was asked."""

    rule: Rule
    reason: Reason | None = None
    quote: Quote | None = None
    sure: bool = True
    asked: list[Post] = field(default_factory=list)

    def read(self, posts):
        self.asked += posts
        return [Reading(tuple(self.opinion(p, a) for a in p.aspects)) for p in posts]

    def opinion(self, post, aspect):
        label = self.rule(post, aspect)
        word = self.quote(post, aspect) if self.quote else ""
        place = post.text.find(word) if word else -1
        return Opinion(
            by="double",
            aspect=aspect,
            polarity=label,
            probs={p: 0.98 if p is label else 0.01 for p in Polarity} if self.sure else None,
            explanation=self.reason(post, aspect, label) if self.reason else None,
            evidence=(Evidence(quote=word, start=place),) if place >= 0 else (),
        )

    def preview(self, posts):
        return []

    def fingerprint(self):
        return {}


@dataclass
class Hinted(Double):
    """A double whose rule is shown one cue a question."""

    source: CueSource | None = None

    def read(self, posts):
        found = []
        for post, cues in zip(posts, self.source.cues(posts), strict=True):
            shown = [post.model_copy(update={"meta": {"hint": c.text}}) for c in cues]
            pairs = zip(shown, post.aspects, strict=True)
            found.append(Reading(tuple(self.opinion(s, a) for s, a in pairs)))
        self.asked += posts
        return found

    def preview(self, posts):
        return [
            Shown(post, a.term, (), {"hint": c.text}, f"{post.text}|{a.term}|{c.text}", 0, 0, {})
            for post, cues in zip(posts, self.source.cues(posts), strict=True)
            for a, c in zip(post.aspects, cues, strict=True)
        ]

    def recued(self, change):
        return Hinted(self.rule, source=change(self.source), asked=self.asked)


class GoldWord:
    """A cue that is one word of `Post.meta`, by aspect."""

    slot = "hint"

    def cues(self, posts):
        return [
            tuple(Cue(text=str(p.meta.get(a.term, "")), source="meta") for a in p.aspects)
            for p in posts
        ]

    def fingerprint(self):
        return "gold word"


def sentence(i: int, word: str, *, media: tuple[Media, ...] = ()) -> Post:
    """A post about a kettle with one deciding word among twelve others, at a place of its own."""
    words = FILL[i % 5 : i % 5 + 12]
    words[i % 11 : i % 11] = [word]
    text = f"kettle {i}: " + " ".join(words)
    return Post(id=f"s{i}", text=text, media=media, aspects=(Aspect(term="kettle", start=0),))


def decided(n: int, *, words=("dreadful", "plain", "splendid")) -> list[Example]:
    """`n` posts whose gold hangs on one word, in turn."""
    return [gold(sentence(i, words[i % 3]), list(Polarity)[i % 3]) for i in range(n)]


def gold(post: Post, *labels: Polarity, reason: str | None = None) -> Example:
    """The post with a gold label for each aspect."""
    return Example(
        post=post,
        opinions=tuple(
            Opinion(by="gold", aspect=a, polarity=label, explanation=reason)
            for a, label in zip(post.aspects, labels, strict=True)
        ),
    )


def two_sided(n: int) -> list[Example]:
    """`n` posts with a praised thing and a blamed one."""
    made = []
    for i in range(n):
        a, b = ("kettle", "teapot") if i % 2 else ("teapot", "kettle")
        text = f"The {a} is splendid and the {b} is dreadful, number {i}"
        first = Aspect(term=a, start=4)
        second = Aspect(term=b, start=text.index(f"the {b}") + 4)
        made.append(gold(Post(id=f"t{i}", text=text, aspects=(first, second)), POS, NEG))
    return made


def by_word(post: Post, aspect: Aspect) -> Polarity:
    """Reads one word of the text."""
    if "dreadful" in post.text:
        return NEG
    return POS if "splendid" in post.text else NEU


def run(name, reader, examples, *, root=Path(), options=None, settings=None, **more):
    """One probe of a double; its figures, trials, and how many posts it was asked again."""
    readings = reader.read([e.post for e in examples])
    if isinstance(reader, Double):
        reader.asked.clear()
    settings = settings or ReaderSettings()
    more = {"replicates": 500} | more
    return probe({name: options or {}}, reader, settings, examples, readings, root, **more)[name]
