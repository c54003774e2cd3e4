"""Find handles, addresses, phone numbers and names of people in a text.

Handles and addresses have rules of their own, phone numbers are found by `phonenumbers`, names by
the entity recognizer of spaCy's model for the language.

    find_items("ask @ana, ana@example.com", {"handles", "emails"}, names=())
    # [Item(4, 8, "handles"), Item(10, 25, "emails")]
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator

from gen_msa.errors import MissingExtra

ItemKind = Literal["handles", "names", "urls", "emails", "phones"]
ITEM_KINDS: tuple[ItemKind, ...] = get_args(ItemKind)


def parse_kinds(value: object) -> object:
    """Return the kinds of `handles,urls`, `all` or a list of kinds, each once."""
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value) if part]
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        chosen = ITEM_KINDS if "all" in value else value
        return tuple(sorted(set(chosen)))
    return value


ItemKinds = Annotated[tuple[ItemKind, ...], BeforeValidator(parse_kinds)]
"""Kinds of items, as a setting: a list, `handles,urls`, or `all`."""


class Item(NamedTuple):
    """A part of a text that names somebody, or where somebody is found."""

    start: int
    end: int
    kind: ItemKind


_ADDRESS_CHARS = r"A-Za-z0-9\u00c0-\u024f\-._~:/?#\[\]@!$&'()*+,;=%"
_ADDRESS = rf"(?:[{_ADDRESS_CHARS}]|(?<=[/=&?#%.:@-])[^\s\x00-\x7f\u00c0-\u024f\u3000-\u303f]+)+"
"""Characters of an address. Those of other scripts begin a part of it: in `t.co/abc很好` they are
the text that follows.
"""
_TLD = "com|org|net|io|edu|gov|info|biz|app|dev|ai|tv|gg|ly|gl|be|co|me|social"
_URL = re.compile(
    rf"(?i:(?:https?|ftp)://|(?<![\w@.])www\.){_ADDRESS}"
    r"|(?<![\w@./-])(?i:(?:[a-z0-9][a-z0-9-]{0,62}\.)+"
    rf"(?:(?:{_TLD})(?![\w.-]*@)(?![a-z0-9_-])(?:[/?#]{_ADDRESS})?|[a-z]{{2,24}}/{_ADDRESS}))"
)
"""With a scheme, `www.` or without: there with a frequent domain, or a path."""
_EMAIL = re.compile(
    r"(?<![\w.+%'@＠-])[\w.+%'-]+[@＠](?:[\w-]+\.)+(?:[A-Za-z][A-Za-z0-9-]+|[^\W\d_A-Za-z][\w-]+)"
    r"|(?<![\w.+%@-])(?i:[\w.+%-]+\s?[\[({]\s?at\s?[\])}]\s?[\w-]+"
    r"(?:(?:\.|\s?[\[({]\s?dot\s?[\])}]\s?)[\w-]+)+)"
)
_PROFILE = re.compile(
    r"(?i:(?:twitter|x|instagram|threads|tiktok|facebook|youtube|medium|github|linkedin|t)"
    r"\.(?:com|net|me)/(?:in/|user/|c/)?(?!(?:status|watch|p|reel|explore|hashtag|search|i|home"
    r"|intent|share|in|user|c)(?![\w.-])))(?P<handle>[\w.-]*\w)"
)
"""A profile's address holds a handle without its sign."""
_REDDIT = re.compile(r"(?<![\w/])/?u/[\w-]{2,}(?!\w)|(?<=reddit\.com/)(?:u|user)/[\w-]{2,}")
_INSTANCE = re.compile(r"[@＠](?:[\w-]+\.)+[^\W\d_]{2,}")
"""The second half of `@ana@example.social`."""
_JOINS = "\u200b\u200c\u200d\u2060\ufeff.-·"
"""Characters that stand inside a handle, but not at its end."""
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f]')
"""Characters that would break the JSON of an answer when an item is put back into it."""

_PRIORITY: tuple[ItemKind, ...] = ("urls", "emails", "handles", "phones", "names")
"""Of two items that overlap, the one of the earlier kind stays whole."""
_AROUND_NAMES = ".,;:!?'()[]*-–—’“”‘#@&/"
_TRIMMED = {
    "urls": ("", ".,;:!?'*_~"),
    "emails": (".'-+%", ".'-+%"),
    "names": (_AROUND_NAMES, _AROUND_NAMES),
}
"""Kind -> punctuation that does not belong to it, before and after."""

_PHONE_REGIONS = (
    *("US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "BR", "MX", "AR", "IN", "CN", "JP"),
    *("KR", "ID", "TR", "RU", "ZA", "NG", "EG", "AU"),
)
"""Whose national numbers are found; international ones (+49 …) are found for every country."""
_MIN_PHONE_DIGITS = 7
_MAX_DIGITS = 300
"""Digits of a text in which the library looks for numbers; it needs seconds for thousands."""
_DIGITS = re.compile(r"[+＋(]?\d(?:[\s().+/–-]{0,3}\d){6,}")
"""What may be a phone number."""


def find_items(
    text: str, kinds: Collection[ItemKind], names: Iterable[tuple[int, int]] = ()
) -> list[Item]:
    """Find the items of some kinds in a text.

    Where items overlap, an address wins over a handle in it, and the rest of a longer name is an
    item of its own.

    Args:
        text: The text.
        kinds: The kinds.
        names: Start and end of every name of a person, where names are wanted.

    Returns:
        The items by offset; no two overlap.
    """
    emails = [Item(*m.span(), "emails") for m in _EMAIL.finditer(text)]
    found: list[Item] = []
    for kind in _PRIORITY:
        if kind in kinds:
            candidates = emails if kind == "emails" else _candidates(text, kind, emails, names)
            for item in candidates:
                found += _pieces(text, item, found)
    return sorted(found)


def _candidates(
    text: str, kind: ItemKind, emails: Sequence[Item], names: Iterable[tuple[int, int]]
) -> list[Item]:
    """Return all that may be an item of a kind; several may overlap."""
    if kind == "handles":
        return list(_handles(text, emails))
    spans = {"urls": _urls, "phones": _phones}[kind](text) if kind != "names" else names
    return [Item(start, end, kind) for start, end in spans]


def check_packages(kinds: Collection[ItemKind]) -> None:
    """Check that what finds the kinds is installed.

    Raises:
        MissingExtra: `phonenumbers`, or spaCy's model, is not.
    """
    if "phones" in kinds:
        _phone_library()
    if "names" in kinds:
        from gen_msa.cues.parsing import spacy_pipeline

        if not spacy_pipeline.is_installed(spacy_pipeline.MODEL):
            raise MissingExtra(spacy_pipeline.MODEL.replace("_", "-"), "builtin")


def find_names(text: str, model: str) -> list[tuple[int, int]]:
    """Return start and end of every name of a person.

    Args:
        text: The text.
        model: A spaCy model package with an entity recognizer.
    """
    from gen_msa.cues.parsing import spacy_pipeline

    def people(_: int, doc: Any) -> list[tuple[int, int]]:
        people = [e for e in doc.ents if e.label_ in ("PERSON", "PER", "persName")]
        return [(e.start_char, e.end_char) for e in people]

    return spacy_pipeline.map_docs([text], model, people)[0]


def names_model(language: str, text: str) -> str | None:
    """Return the installed spaCy model that finds names in a text; None if there is none.

    Args:
        language: The language of the text, or `unknown`.
        text: The text.
    """
    from gen_msa.cues.parsing import spacy_pipeline

    model = spacy_pipeline.model_for(language, text)
    if model is None or len(text) > spacy_pipeline.MAX_CHARS:
        return None
    return model if "ner" in spacy_pipeline.load_pipeline(model).pipe_names else None


def _handles(text: str, emails: Sequence[Item]) -> Iterator[Item]:
    """Yield `@ana`, `@ana@example.social`, `u/ana`, and the handle in a profile's address."""
    within_email = {i for e in emails for i in range(e.start, e.end) if text[i] in "@＠"}
    at = 0
    for match in re.finditer("[@＠]", text):
        if match.start() < at or match.start() in within_email:
            continue
        end = _handle_end(text, match.end())
        if end > match.end():
            if instance := _INSTANCE.match(text, end):
                end = instance.end()
            at = end
            yield Item(match.start(), end, "handles")
    for match in _REDDIT.finditer(text):
        yield Item(*match.span(), "handles")
    for match in _PROFILE.finditer(text):
        yield Item(*match.span("handle"), "handles")


def _handle_end(text: str, start: int) -> int:
    """Return where the handle that begins at `start`, after its sign, ends."""
    end = at = start
    while at < len(text):
        c = text[at]
        if c.isalnum() or c == "_" or (at > start and _is_mark(c)):
            end = at + 1
        elif c not in _JOINS or at == start:
            break
        at += 1
    return end


def _is_mark(c: str) -> bool:
    """Return whether a character is an accent or vowel sign, and no variant of an emoji."""
    return unicodedata.category(c)[0] == "M" and not "\ufe00" <= c <= "\ufe0f" and c != "\u20e3"


def _urls(text: str) -> list[tuple[int, int]]:
    return [m.span() for m in _URL.finditer(text)]


@cache
def _phone_library() -> Any:
    try:
        import phonenumbers
    except ImportError:
        raise MissingExtra("phonenumbers", "privacy") from None
    return phonenumbers


def _phones(text: str) -> list[tuple[int, int]]:
    """Return the phone numbers, the longest first; of many digits all that may be one."""
    n_digits = _count_digits(text)
    if n_digits < _MIN_PHONE_DIGITS:
        return []
    if n_digits > _MAX_DIGITS:
        return [m.span() for m in _DIGITS.finditer(text)]
    library = _phone_library()
    spans: set[tuple[int, int]] = set()
    for region in (None, *_PHONE_REGIONS):
        matcher = library.PhoneNumberMatcher(
            text, region, leniency=library.Leniency.POSSIBLE, max_tries=_MAX_DIGITS
        )
        spans |= {
            (m.start, m.end) for m in matcher if _count_digits(m.raw_string) >= _MIN_PHONE_DIGITS
        }
    return sorted(spans, key=lambda span: (span[0] - span[1], span))


def _count_digits(text: str) -> int:
    return sum(c.isdigit() for c in text)


def _pieces(text: str, item: Item, taken: Sequence[Item]) -> Iterator[Item]:
    """Yield what is left of an item outside the taken ones, without blanks and unsafe ends."""
    cuts = [(t.start, t.end) for t in taken if t.start < item.end and item.start < t.end]
    cuts += [
        (m.start() + item.start, m.end() + item.start)
        for m in _UNSAFE.finditer(text[item.start : item.end])
    ]
    at = item.start
    for start, end in [*sorted(cuts), (item.end, item.end)]:
        piece = _trimmed(text, Item(at, max(at, start), item.kind))
        if piece is not None:
            yield piece
        at = max(at, end)


def _trimmed(text: str, item: Item) -> Item | None:
    """Return the item without punctuation around it; None if no letter or digit is left."""
    before, after = _TRIMMED.get(item.kind, ("", ""))
    start, end = item.start, item.end
    while start < end and (text[start].isspace() or text[start] in before):
        start += 1
    while start < end and (
        text[end - 1].isspace()
        or text[end - 1] in after
        or (item.kind == "urls" and _closes_nothing(text[start:end]))
    ):
        end -= 1
    has_content = any(c.isalnum() or c == "_" for c in text[start:end])
    return Item(start, end, item.kind) if has_content else None


def _closes_nothing(address: str) -> bool:
    """Return whether an address ends in a bracket that it does not open."""
    pair = {")": "(", "]": "["}.get(address[-1])
    return pair is not None and address.count(address[-1]) > address.count(pair)
