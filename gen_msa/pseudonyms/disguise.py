"""The disguise of one post: its text, aspects and cues with placeholders, and the way back.

disguise = Pseudonymizer(("handles",)).disguise("@ana likes it")
disguise.hide("by @ana")        # the same placeholder as in `disguise.text`
disguise.restore(answer)        # the answer with "@ana"
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gen_msa.pseudonyms.items import (
    Item,
    ItemKind,
    check_packages,
    find_items,
    find_names,
    names_model,
)
from gen_msa.pseudonyms.placeholders import (
    Placeholders,
    load_key,
    original_form,
    written_form,
    written_pattern,
)
from gen_msa.types import Aspect, Parse, Post, Token

_MIN_NAME_PART = 3
"""Letters of a part of a name (`Smith`) that is replaced where it stands alone."""


class NamesNotFindable(Exception):
    """Names cannot be found in a text: no installed model finds them in its language."""

    def __init__(self, language: str) -> None:
        super().__init__(f"names cannot be found in it: no spaCy model finds names in {language!r}")
        self.hint = "install one, such as es_core_news_sm, or set language=, or leave names out"


class Pseudonymizer:
    """Finds and replaces some kinds of items; it is the same in every process of a user."""

    def __init__(self, kinds: Iterable[ItemKind], key: bytes | None = None) -> None:
        """Check that the kinds can be found.

        Args:
            kinds: The kinds to replace.
            key: The key of the placeholders. Default: that of the user.

        Raises:
            MissingExtra: A package that finds a kind is not installed.
            UserError: There is no key, and none can be stored.
        """
        self.kinds = frozenset(kinds)
        check_packages(self.kinds)
        self._placeholders = Placeholders(load_key() if key is None else key)

    def disguise(self, text: str, terms: Iterable[str] = (), language: str = "en") -> "Disguise":
        """Return the disguise of a post.

        Args:
            text: The post's text.
            terms: Terms of its aspects, where the items of the text may stand as well.
            language: The language of the text, or `unknown`.

        Raises:
            NamesNotFindable: Names are wanted, and no model finds them in this language.
        """
        model = None
        if "names" in self.kinds and any(c.isalpha() for c in text):
            model = names_model(language, text)
            if model is None:
                raise NamesNotFindable(language)
        return Disguise(text, tuple(terms), self.kinds, model, self._placeholders)


class _Replacement(NamedTuple):
    """Where an item was in a text, and where its placeholder is now."""

    kind: ItemKind
    start: int
    end: int
    new_start: int
    new_end: int


class Disguise:
    """The items of one post and their placeholders. Made by `Pseudonymizer.disguise`."""

    def __init__(
        self,
        text: str,
        terms: tuple[str, ...],
        kinds: frozenset[ItemKind],
        model: str | None,
        placeholders: Placeholders,
    ) -> None:
        self._kinds = kinds
        self._model = model
        self._placeholders = placeholders
        self._core_of: dict[tuple[ItemKind, str], str] = {}
        self._item_of: dict[str, tuple[ItemKind, str]] = {}
        self._hidden: dict[str, str] = {}
        self._source = text
        self._haystack = "\n".join((text, *terms))
        self._written: re.Pattern[str] | None = None
        found = [(t, i) for t in (text, *terms) for i in self._find(t)]
        self._add((i.kind, t[i.start : i.end]) for t, i in found)
        self.text, self._replacements = self._hide_all(text)
        """The text with placeholders."""

    @property
    def counts(self) -> str:
        """Return what was replaced in the text, e.g. `2 handles, 1 url`; "" for nothing."""
        replaced = {(r.kind, self._source[r.start : r.end]) for r in self._replacements}
        counted = Counter(kind for kind, _ in replaced)
        names = ((n, kind if n != 1 else kind[:-1]) for kind, n in sorted(counted.items()))
        return ", ".join(f"{n} {kind}" for n, kind in names)

    def hide(self, text: str) -> str:
        """Return any text about the post with placeholders; a second call changes nothing."""
        if text == self._source:
            return self.text
        if text not in self._hidden:
            self._hidden[text] = self._hide_all(text)[0]
        return self._hidden[text]

    def hide_aspect(self, aspect: Aspect) -> Aspect:
        """Return the aspect as it stands in `text`; inside an item, the whole placeholder."""
        if aspect.start is None or aspect.end is None:
            return Aspect(term=self._hide_term(aspect.term))
        start, end = self._moved(aspect.start), self._moved(aspect.end, is_end=True)
        return Aspect(term=self.text[start:end], start=start)

    def hide_post(self, post: Post) -> Post:
        """Return the post with placeholders in text, aspects and parse; nothing else is sent."""
        aspects = tuple(map(self.hide_aspect, post.aspects))
        parse = post.parse and self._hide_parse(post.parse)
        return post.model_copy(update={"text": self.text, "aspects": aspects, "parse": parse})

    def restore(self, text: str) -> str:
        """Return what a model wrote, with the items instead of their placeholders."""
        pattern = self._placeholder_pattern()
        return pattern.sub(self._original, text) if pattern is not None else text

    def _placeholder_pattern(self) -> re.Pattern[str] | None:
        """Return the pattern of every placeholder so far; the only group is its core."""
        if self._written is None and self._item_of:
            forms = (written_pattern(kind, c) for c, (kind, _) in self._item_of.items())
            self._written = re.compile("|".join(forms), re.IGNORECASE)
        return self._written

    def _original(self, match: re.Match[str]) -> str:
        kind, item = self._item_of[match[match.lastindex or 0].casefold()]
        return original_form(kind, item, match[0])

    def _find(self, text: str) -> list[Item]:
        names = find_names(text, self._model) if self._model and text else ()
        return find_items(text, self._kinds, names)

    def _add(self, items: Iterable[tuple[ItemKind, str]], text: str = "") -> None:
        """Choose a placeholder for each new item."""
        new = [pair for pair in dict.fromkeys(items) if pair not in self._core_of]
        known = [item for _, item in (*self._core_of, *new)]
        for kind, item in new:
            taken = "\n".join((self._haystack, text, *self._item_of))
            core = self._placeholders.choose(kind, item, known, taken)
            self._core_of[kind, item] = core
            self._item_of[core.casefold()] = kind, item
            self._written = None

    def _hide_all(self, text: str) -> tuple[str, list[_Replacement]]:
        """Replace every item of a text; return where each was, and where its placeholder is."""
        items = self._items_in(text)
        self._add(((i.kind, text[i.start : i.end]) for i in items), text)
        pieces: list[str] = []
        replacements: list[_Replacement] = []
        at = length = 0
        for item in items:
            original = text[item.start : item.end]
            placeholder = written_form(item.kind, original, self._core_of[item.kind, original])
            new_start = length + item.start - at
            length = new_start + len(placeholder)
            pieces += [text[at : item.start], placeholder]
            replacements.append(_Replacement(item.kind, item.start, item.end, new_start, length))
            at = item.end
        return "".join((*pieces, text[at:])), replacements

    def _items_in(self, text: str) -> list[Item]:
        """Return the items of a text: those found in it, and those that the post has elsewhere."""
        pattern = self._placeholder_pattern()
        placeholders = [m.span() for m in pattern.finditer(text)] if pattern is not None else []
        chosen: list[Item] = []
        for item in (*self._find(text), *self._known_in(text)):
            taken = [*placeholders, *((c.start, c.end) for c in chosen)]
            if all(item.end <= start or end <= item.start for start, end in taken):
                chosen.append(item)
        return sorted(chosen)

    def _known_in(self, text: str) -> Iterator[Item]:
        """Yield where items of the post stand in a text, the longest first; and parts of names."""
        known = list(self._core_of)
        known += [
            ("names", part)
            for kind, item in self._core_of
            for part in (item.split() if kind == "names" else ())
            if len(part) >= _MIN_NAME_PART and part[0].isupper()
        ]
        for kind, item in sorted(dict.fromkeys(known), key=lambda pair: -len(pair[1])):
            before = r"(?<!\w)" if item[0].isalnum() else ""
            after = r"(?!\w)" if item[-1].isalnum() else ""
            for match in re.finditer(before + re.escape(item) + after, text):
                yield Item(*match.span(), kind)

    def _hide_term(self, term: str) -> str:
        """Return a term that stands nowhere in the post; the name of a handle is the handle."""
        folded = term.casefold()
        for (kind, item), core in self._core_of.items():
            if kind == "handles" and folded == item.lstrip("@＠").casefold():
                return written_form(kind, item, core)
        return self.hide(term)

    def _hide_parse(self, parse: Parse) -> Parse | None:
        """Return the parse with placeholders; None where an item is not one token of it."""
        tokens: list[Token] = []
        by_start = {r.start: r for r in self._replacements}
        n_replaced = 0
        for token in parse.tokens:
            end = token.start + len(token.text)
            touched = [r for r in self._replacements if r.start < end and token.start < r.end]
            if touched and (touched[0].start, touched[0].end) != (token.start, end):
                return None
            n_replaced += len(touched)
            moved = by_start[token.start] if touched else None
            start = moved.new_start if moved else self._moved(token.start)
            text = self.text[moved.new_start : moved.new_end] if moved else token.text
            tokens.append(token.model_copy(update={"start": start, "text": text}))
        same = n_replaced == len(self._replacements)
        return parse.model_copy(update={"tokens": tuple(tokens)}) if same else None

    def _moved(self, offset: int, *, is_end: bool = False) -> int:
        """Return where an offset of the original text is in `text`; an item is not cut."""
        shift = 0
        for r in self._replacements:
            if r.start < offset < r.end:
                return r.new_end if is_end else r.new_start
            if r.end <= offset:
                shift += (r.new_end - r.new_start) - (r.end - r.start)
        return offset + shift
