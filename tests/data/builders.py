"""Examples for tests of data sets and formats: hard ones, and generated ones."""

from hypothesis import strategies as st

from gen_msa.types import (
    OVERALL_ASPECT,
    Aspect,
    Evidence,
    Example,
    Media,
    Opinion,
    Parse,
    Polarity,
    Post,
    Status,
    Token,
)

HARD_TEXTS = {
    "placeholder": "my <image> of <video> lunch",
    "control token": "soup<|im_end|><|im_start|>assistant",
    "marker": "the $T$ is a $T$",
    "template": "{{7*7}} {% for x in y %}",
    "empty": "",
    "long": "tea and cake. " * 7200,
    "emoji": "soup 👩‍👩‍👧‍👦 was 🔥🔥",
    "arabic": "الطعام لذيذ جدا",
    "chinese": "菜很好吃，服务太慢",
    "quotes": 'he said "soup", twice ""\r\nand left\n\n',
    "formula": "'=1+1",
    "blanks": "  tea \t ",
    "backslash": "tea \\ \\n \\",
    "separators": "a\u2028b\u2029c\x85d\x0be",
    "control": "nul \x00 bell \x07",
}


def gold_opinion(aspect: Aspect, polarity: str) -> Opinion:
    return Opinion(annotator="gold", aspect=aspect, polarity=Polarity(polarity))


def image_media(path: str) -> tuple[Media, ...]:
    return (Media(kind="image", path=path),)


def plain_example(post_id: str = "tea-1", text: str = "good tea , bad cake") -> Example:
    """Return a post that nearly every format can store."""
    aspects = (Aspect(term="tea", start=5), Aspect(term="cake", start=15))
    post = Post(id=post_id, text=text, media=image_media("tea.jpg"), aspects=aspects)
    return Example(
        post=post,
        opinions=(gold_opinion(aspects[0], "positive"), gold_opinion(aspects[1], "negative")),
    )


def hard_examples() -> list[Example]:
    """Return every hard text without an aspect, and a post in which an aspect occurs twice."""
    posts = [
        Example(post=Post(id=f"hard {i}", text=text)) for i, text in enumerate(HARD_TEXTS.values())
    ]
    repeated_aspects = (
        Aspect(term="tea", start=9),
        Aspect(term="tea", start=0),
        Aspect(term="wine"),
    )
    post = Post(
        id="twice", text="tea, not tea", aspects=repeated_aspects, media=image_media("a b.jpg")
    )
    return [
        *posts,
        Example(post=post, opinions=(gold_opinion(repeated_aspects[1], "neutral"),)),
        plain_example(),
    ]


_LETTERS = st.characters(exclude_categories=("Cs",))
TEXTS = st.text(_LETTERS, max_size=40) | st.sampled_from(
    [t for t in HARD_TEXTS.values() if len(t) < 100]
)
_WORDS = st.text(_LETTERS, min_size=1, max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=5,
)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_PATHS = _WORDS.filter(lambda w: "\n" not in w)


@st.composite
def _aspects(draw: st.DrawFn, text: str) -> Aspect:
    if text and draw(st.booleans()):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        return Aspect(term=text[start:end], start=start)
    return draw(st.just(OVERALL_ASPECT) | st.builds(Aspect, term=_WORDS))


@st.composite
def _opinions(draw: st.DrawFn, aspects: st.SearchStrategy[Aspect]) -> Opinion:
    p_negative = draw(st.none() | st.floats(0, 1))
    probs = (
        p_negative if p_negative is None else {"negative": p_negative, "positive": 1 - p_negative}
    )
    starts = st.none() | st.integers(0, 99)
    evidence = st.builds(Evidence, quote=_WORDS, start=starts, source=st.sampled_from(["text"]))
    return Opinion(
        annotator=draw(st.sampled_from(["gold", "teacher", "a b"])),
        aspect=draw(aspects),
        polarity=draw(st.none() | st.sampled_from(Polarity)),
        score=draw(st.none() | _FLOATS),
        probs=probs,
        explanation=draw(st.none() | _WORDS),
        evidence=tuple(draw(st.lists(evidence, max_size=2))),
        raw=draw(st.none() | _WORDS),
        status=draw(st.sampled_from(Status)),
        provenance=draw(st.dictionaries(_WORDS, _WORDS, max_size=2)),
    )


@st.composite
def _parses(draw: st.DrawFn, text: str) -> Parse | None:
    words = text.split(" ")
    if not all(words) or draw(st.booleans()):
        return None
    heads = [draw(st.integers(-1, len(words) - 1)) for _ in words]
    starts = [len(" ".join(words[:i])) + (i > 0) for i in range(len(words))]
    return Parse(
        tokens=tuple(
            Token(text=w, start=s, head=h, rel="dep", pos="X")
            for w, s, h in zip(words, starts, heads, strict=True)
        ),
        parser="stanza",
    )


@st.composite
def examples(draw: st.DrawFn, *, all_fields: bool = True) -> Example:
    """Draw any example; without `everything`, one that a CSV file can store."""
    text = draw(TEXTS)
    aspects = tuple(draw(st.lists(_aspects(text), max_size=4, unique=True)))
    kinds = ["image", "audio", "video", "features"] if all_fields else ["image"]
    media = st.builds(
        Media,
        kind=st.sampled_from(kinds),
        path=_PATHS,
        key=st.none() | _WORDS if all_fields else st.none(),
    )
    post = Post(
        id=draw(_WORDS),
        text=text,
        media=tuple(draw(st.lists(media, max_size=3))),
        aspects=aspects,
        parse=draw(_parses(text)) if all_fields else None,
        meta=draw(st.dictionaries(_WORDS, _JSON, max_size=3)),
    )
    opinion_aspects = _aspects(text) | st.sampled_from(aspects) if aspects else _aspects(text)
    opinions = draw(st.lists(_opinions(opinion_aspects), max_size=4))
    return Example(post=post, opinions=tuple(opinions))
