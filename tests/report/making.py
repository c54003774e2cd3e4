"""Examples for the tests of the report, in words of our own, and a parser of its pages."""

from html.parser import HTMLParser
from pathlib import Path

from gen_msa.media import PictureProblem
from gen_msa.report import write_html
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Polarity, Post

VOID = {"meta", "img", "input", "br", "link", "hr"}

NEG, NEU, POS = Polarity


def aspect(text: str, term: str) -> Aspect:
    return Aspect(term=term, start=text.index(term) if term else None)


def opinion(by: str, about: Aspect, polarity: Polarity | None, p: float | None = None, **more):
    """An opinion; `p` is the probability of its polarity, the rest is shared by the other two."""
    probs = None
    if p is not None:
        probs = {q: p if q == polarity else (1 - p) / 2 for q in Polarity}
    return Opinion(by=by, aspect=about, polarity=polarity, probs=probs, **more)


def phone(number: int = 1) -> Example:
    """Two aspects of opposite gold; on the second `a` errs and `b` is unread."""
    text = "Lovely screen, awful battery life."
    screen, battery = aspect(text, "screen"), aspect(text, "battery life")
    praise = Evidence(quote="Lovely screen", start=0)
    stray = Evidence(quote="dim light", source="picture")
    return Example(
        post=Post(id=f"phone-{number}", text=text, aspects=(screen, battery)),
        opinions=(
            opinion("gold", screen, POS),
            opinion("gold", battery, NEG),
            opinion("a", screen, POS, 0.9, explanation="It is lovely.", evidence=(praise, stray)),
            opinion("a", battery, POS, 0.4, how={"prompt": "reader/full@1234"}),
            opinion("b", screen, POS, 0.7),
            opinion("b", battery, None, raw="both, I think", status="unparsed"),
        ),
    )


def bus() -> Example:
    """A post with a neutral reading of the whole and a picture."""
    text = "The bus leaves at nine."
    media = (Media(kind="image", path="bus.png"),)
    read = opinion("a", Aspect(term=""), NEU, 0.35, explanation="A plain fact.")
    return Example(post=Post(id="bus", text=text, media=media), opinions=(read,))


def draw(media: Media, root: Path) -> str:
    """A stand-in for a thumbnail: the same bytes for every path but those that say `missing`."""
    if "missing" in media.path:
        raise PictureProblem("missing", media.path, "there is no such file", "check the media root")
    return "data:image/gif;base64,R0lGODlhAQABAAAAACw="


class Seen(HTMLParser):
    """Everything in a page: elements with their attributes, and the text by enclosing class."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = (tag, {k: v or "" for k, v in attrs})
        self.elements.append(found)
        if tag not in VOID:
            self._open.append(found)

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        names = [n for tag, a in self._open for n in (tag, *a.get("class", "").split())]
        self._texts.append((tuple(names), data))

    def shape(self) -> set[tuple[str, str]]:
        """Every (element, attribute) pair, and (element, '') for each element."""
        return {(tag, name) for tag, attrs in self.elements for name in (*attrs, "")}

    def of(self, name: str) -> list[dict[str, str]]:
        """Attributes of the elements with this tag, or with this class."""
        return [a for t, a in self.elements if t == name or name in a.get("class", "").split()]

    def text(self, name: str = "html") -> str:
        """The words inside every element with this tag or class."""
        return "".join(words for names, words in self._texts if name in names)


def page(tmp_path: Path, *examples: Example, **options) -> Seen:
    """The report over `examples`, parsed."""
    path = tmp_path / "report.html"
    asked = {"title": "Posts", "media_root": tmp_path, "facts": {}, "draw": draw, **options}
    write_html(examples, path, **asked)
    return Seen(path.read_text("utf-8"))
