"""Fills a prompt in: a post, an aspect, cues and pictures become one `Request`.

Knows nothing of tokens or chat formats. Words that come from a post are marked with noncharacters
(U+FDD0 … U+FDD1) while the template runs and split off again as `Text(untrusted=True)`, so that
the line between our words and theirs survives rendering; turns and pictures use U+FDD2 … U+FDD3.

    render(load("reader/plain"), post, post.aspects[0], cues={}, pictures=())
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from gen_msa.chat import Chat, Picture, Request, Text, Turn
from gen_msa.errors import UserError
from gen_msa.prompting.prompt import Prompt
from gen_msa.prompting.sandbox import fill
from gen_msa.prompting.schema import choice, json_schema
from gen_msa.spans import NONCHARACTER
from gen_msa.types import Aspect, Cue, Polarity, Post

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
WHOLE = "show post, aspect and cues plainly, as in {{ post }}, without filters or slices"

_MARKED = re.compile(
    "\ufdd0(?P<untrusted>[^\ufdd0-\ufdd3]*)\ufdd1|\ufdd2(?P<sign>[^\ufdd0-\ufdd3]*)\ufdd3\n?"
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)


class Untrusted:
    """A value that a template can show, whole, and nothing else: it has no parts to reach."""

    def __init__(self, text: str) -> None:
        self._text = NONCHARACTER.sub("\ufffd", text)
        self._shown = 0

    def __bool__(self) -> bool:
        return bool(self._text)

    def __str__(self) -> str:
        self._shown += 1
        return f"\ufdd0{self._text}\ufdd1"


def render(
    prompt: Prompt,
    post: Post,
    aspect: Aspect | None,
    cues: Mapping[str, Cue],
    pictures: Sequence[Picture],
    *,
    label: Polarity | None = None,
) -> Request:
    """The request that asks `prompt` about one aspect of `post` (None: the post as a whole).

    `cues` are by slot; a slot without a cue, or with an empty one, is absent. `label` is for
    prompts that ask only for the reason (`prompt.takes_label`). Aspect and cues are shown on one
    line each. Raises `UserError` for a cue without a slot, for pictures or a label that the prompt
    has no place for, and for a template that changes or cuts what came from the post.
    """
    _check(prompt, cues, pictures, label)
    untrusted = {"post": Untrusted(post.text), "aspect": _line(aspect.term if aspect else "")}
    untrusted |= {slot: _line(cues[slot].text if slot in cues else "") for slot in prompt.slots}
    values: dict[str, Any] = {
        **untrusted,
        "labels": {str(p): word for p, word in prompt.labels.items()},
        "label": prompt.labels[label] if label else "",
        "keys": dict(prompt.keys),
        "turn": _turn,
        "pictures": lambda: "\ufdd2pictures\ufdd3",
        "mark": _marker(_fenced(prompt, untrusted.values())),
    }
    turns = _split(fill(prompt.sources, values), pictures, prompt.name)
    _check_whole(turns, untrusted.values(), pictures, prompt.name)
    words = tuple(prompt.labels[p] for p in prompt.labels if label in (None, p))
    keys, said = tuple(prompt.keys.items()), prompt.options or words
    return Request(
        chat=Chat(turns=turns),
        max_new_tokens=prompt.max_new_tokens,
        choice=choice(prompt.task, keys, said),
        json_schema=json_schema(prompt.task, keys, said, prompt.max_new_tokens),
        quotes=post.text if prompt.quotes == "verbatim" else "",
    )


def replaced(*texts: str) -> int:
    """How many noncharacters of `texts` a prompt shows as U+FFFD instead."""
    return sum(len(NONCHARACTER.findall(text)) for text in texts)


def _check(
    prompt: Prompt, cues: Mapping[str, Cue], pictures: Sequence[Picture], label: Polarity | None
) -> None:
    for slot in sorted(set(cues) - set(prompt.slots)):
        known = ", ".join(prompt.slots) or "none"
        raise UserError(
            f"prompt {prompt.name} has no slot {slot!r}; its slots: {known}",
            mend="choose another prompt, or leave this cue out",
        )
    if pictures and not prompt.shows_pictures:
        raise UserError(
            f"prompt {prompt.name} has no place for pictures",
            mend="add {{ pictures() }} to it, or read the posts without pictures",
        )
    if prompt.takes_label != (label is not None):
        needs = "needs the label that is to be explained" if label is None else "takes no label"
        raise UserError(f"prompt {prompt.name} {needs}", mend="choose another prompt")


def _line(text: str) -> Untrusted:
    """On one line, so that what it says cannot look like a new part of the prompt."""
    return Untrusted(" ".join(text.split()))


def _turn(role: str) -> str:
    if role not in ROLES:
        raise ValueError(f"no turn is called {role!r}; write one of {', '.join(ROLES)}")
    return f"\ufdd2{role}\ufdd3"


def _fenced(prompt: Prompt, untrusted: Iterable[Untrusted]) -> str:
    """What no fence may occur in: the post, and for a judge all that readers said of it too."""
    texts = [value._text for value in untrusted]
    return "\n".join(texts) if prompt.task == "judge" else texts[0]


def _marker(text: str) -> Callable[[str], str]:
    """A function from a word to the first of WORD, WORD-2, WORD-3 … that `text` does not hold.

    Letter case, width and invisible characters make no difference to "hold". Linear in the text.
    """

    def mark(word: str) -> str:
        seen = _plain(text)
        if _plain(word) not in seen:
            return word
        digits = re.findall(re.escape(_plain(word)) + "-([0-9]{1,9})", seen)
        taken = {d[:n] for d in digits for n in range(1, len(d) + 1)}
        number = 2
        while str(number) in taken:
            number += 1
        return f"{word}-{number}"

    return mark


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return unicodedata.normalize("NFKC", folded)


def _split(rendered: str, pictures: Sequence[Picture], name: str) -> tuple[Turn, ...]:
    """The turns of a rendered template and, in each, its parts: ours, theirs, pictures."""
    turns: list[tuple[Role, list[Text | Picture]]] = []
    at = 0
    for mark in _MARKED.finditer(rendered):
        _add(turns, rendered[at : mark.start()], name)
        at = mark.end()
        if mark["sign"] in ROLES:
            turns.append((ROLES[mark["sign"]], []))
        elif not turns:
            raise UserError(f"prompt {name} shows something before its first turn")
        elif mark["sign"]:
            turns[-1][1].extend(pictures)
        else:
            turns[-1][1].append(Text(text=mark["untrusted"], untrusted=True))
    _add(turns, rendered[at:], name)
    if not turns:
        raise UserError(
            f"prompt {name} has no turn", mend='write {{ turn("user") }} above its text'
        )
    return tuple(Turn(role=role, parts=_trimmed(parts)) for role, parts in turns)


def _add(turns: list[tuple[Role, list[Text | Picture]]], text: str, name: str) -> None:
    if NONCHARACTER.search(text):
        raise UserError(f"prompt {name} cuts something that must be shown whole", mend=WHOLE)
    if turns:
        turns[-1][1].append(Text(text=text))
    elif text.strip():
        mend = 'begin with {{ turn("system") }} or {{ turn("user") }}'
        raise UserError(f"prompt {name} shows something before its first turn", mend=mend)


def _trimmed(parts: list[Text | Picture]) -> tuple[Text | Picture, ...]:
    """Parts without blanks of ours at either end, and without empty ones."""
    if parts and isinstance(parts[0], Text) and not parts[0].untrusted:
        parts[0] = Text(text=parts[0].text.lstrip())
    if parts and isinstance(parts[-1], Text) and not parts[-1].untrusted:
        parts[-1] = Text(text=parts[-1].text.rstrip())
    return tuple(p for p in parts if isinstance(p, Picture) or p.text)


def _check_whole(
    turns: Sequence[Turn], given: Iterable[Untrusted], pictures: Sequence[Picture], name: str
) -> None:
    """Everything from outside came through whole, as often as the template asked for it."""
    parts = [p for turn in turns for p in turn.parts]
    seen = Counter(p.text for p in parts if isinstance(p, Text) and p.untrusted)
    asked: Counter[str] = Counter()
    for value in given:
        asked[value._text] += value._shown if value else 0
    if seen != +asked:
        raise UserError(f"prompt {name} changes or cuts what came from the post", mend=WHOLE)
    if [p for p in parts if isinstance(p, Picture)] != list(pictures):
        raise UserError(f"prompt {name} must show the pictures once", mend="{{ pictures() }}")
