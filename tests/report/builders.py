"""Examples for the tests of the report, and a parser of its pages."""

from html.parser import HTMLParser
from pathlib import Path

from gen_msa.media import ImageError
from gen_msa.report import write_html
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Polarity, Post

VOID_ELEMENTS = {"meta", "img", "input", "br", "link", "hr"}

NEG, NEU, POS = Polarity


def aspect_at(text: str, term: str) -> Aspect:
    return Aspect(term=term, start=text.index(term) if term else None)


def opinion(
    annotator: str, target: Aspect, polarity: Polarity | None, p: float | None = None, **fields
):
    """Build an opinion; `p` is the probability of its polarity, the other two are equal."""
    probs = None
    if p is not None:
        probs = {q: p if q == polarity else (1 - p) / 2 for q in Polarity}
    return Opinion(annotator=annotator, aspect=target, polarity=polarity, probs=probs, **fields)


def phone_example(number: int = 1) -> Example:
    """Build two aspects of opposite gold; on the second, `a` is wrong and `b` is unparsed."""
    text = "Lovely screen, awful battery life."
    screen, battery = aspect_at(text, "screen"), aspect_at(text, "battery life")
    praise_evidence = Evidence(quote="Lovely screen", start=0)
    image_evidence = Evidence(quote="dim light", source="image")
    return Example(
        post=Post(id=f"phone-{number}", text=text, aspects=(screen, battery)),
        opinions=(
            opinion("gold", screen, POS),
            opinion("gold", battery, NEG),
            opinion(
                "a",
                screen,
                POS,
                0.9,
                explanation="It is lovely.",
                evidence=(praise_evidence, image_evidence),
            ),
            opinion("a", battery, POS, 0.4, provenance={"prompt": "predict/full@1234"}),
            opinion("b", screen, POS, 0.7),
            opinion("b", battery, None, raw="both, I think", status="unparsed"),
        ),
    )


def bus_example() -> Example:
    """Build a post with an image and a neutral opinion about the whole post."""
    text = "The bus leaves at nine."
    media = (Media(kind="image", path="bus.png"),)
    neutral_opinion = opinion("a", Aspect(term=""), NEU, 0.35, explanation="A plain fact.")
    return Example(post=Post(id="bus", text=text, media=media), opinions=(neutral_opinion,))


def fake_thumbnail(media: Media, root: Path) -> str:
    """Return the same bytes for every path, and raise for paths that contain `missing`."""
    if "missing" in media.path:
        raise ImageError("missing", media.path, "there is no such file", "check the media root")
    return "data:image/gif;base64,R0lGODlhAQABAAAAACw="


class ParsedPage(HTMLParser):
    """All elements of a page with their attributes, and the text by enclosing class."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = (tag, {k: v or "" for k, v in attrs})
        self.elements.append(element)
        if tag not in VOID_ELEMENTS:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        names = [n for tag, a in self._open for n in (tag, *a.get("class", "").split())]
        self._texts.append((tuple(names), data))

    def shape(self) -> set[tuple[str, str]]:
        """Return every (element, attribute) pair, and (element, '') for each element."""
        return {(tag, name) for tag, attrs in self.elements for name in (*attrs, "")}

    def attributes_of(self, name: str) -> list[dict[str, str]]:
        """Return the attributes of the elements with this tag or class."""
        return [a for t, a in self.elements if t == name or name in a.get("class", "").split()]

    def text(self, name: str = "html") -> str:
        """Return the text inside every element with this tag or class."""
        return "".join(part for names, part in self._texts if name in names)


def render_page(tmp_path: Path, *examples: Example, **options) -> ParsedPage:
    """Render the report over `examples` and parse it."""
    path = tmp_path / "report.html"
    settings = {
        "title": "Posts",
        "media_root": tmp_path,
        "facts": {},
        "draw": fake_thumbnail,
        **options,
    }
    write_html(examples, path, **settings)
    return ParsedPage(path.read_text("utf-8"))
