"""Fills a prompt in: a post, an aspect, cues and pictures become one `Request`.

Knows nothing of tokens or chat formats. Words that come from a post are marked with noncharacters
(U+FDD0 … U+FDD1) while the template runs and split off again as `Text(untrusted=True)`, so that
the line between our words and theirs survives rendering; turns and pictures use U+FDD2 … U+FDD3.

    render(load("reader/plain"), post, post.aspects[0], cues={}, pictures=())
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from gen_msa.chat import Chat, ChoiceSlot, ImageInput, Request, TextInput, Turn
from gen_msa.errors import UserError
from gen_msa.prompting.prompt import Prompt
from gen_msa.prompting.sandbox import render_template
from gen_msa.spans import NONCHARACTER
from gen_msa.types import Aspect, Cue, Polarity, Post

# The form of an answer, for backends that can enforce one: a slot for the label, or a JSON schema.

MAX_EXPLANATION_CHARS = 300
"""Characters of a reason; about 70 tokens. A longer answer has room for more."""
CHARS_PER_TOKEN = 3
"""Of a reason, for each token that its answer may have: fewer than a token has, so that the answer
is closed before its tokens end."""
MAX_QUOTES = 3
MAX_QUOTE_CHARS = 80
MAX_ASPECTS = 32
MAX_ASPECT_CHARS = 80

AnswerKeys = tuple[tuple[str, str], ...]


def label_choice(task: str, keys: AnswerKeys, label_words: tuple[str, ...]) -> ChoiceSlot | None:
    """The label slot of an answer in lines.

    None for a joint answer, which has no single label, and where the reason comes before the label.
    """
    names = dict(keys)
    if task == "aspects" or next(iter(names)) != "label":
        return None
    # The blank belongs to the option: tokenizers join it to the word that follows.
    then = f"\n{names['explanation']}:" if "explanation" in names else ""
    return ChoiceSlot(
        prefix=f"{names['label']}:", options=tuple(f" {w}" for w in label_words), suffix=then
    )


@functools.lru_cache(maxsize=256)
def answer_schema(
    task: str, keys: AnswerKeys, label_words: tuple[str, ...], max_tokens: int
) -> dict[str, JsonValue]:
    """The JSON schema of an answer, in the order of `keys`, nothing optional, nothing added.

    `tokens`: the most that the answer may have.
    """
    names = {role: name.lower() for role, name in keys}
    label = Annotated[str, Field(json_schema_extra={"enum": list(label_words)})]
    quotes = Annotated[
        list[Annotated[str, Field(max_length=MAX_QUOTE_CHARS)]], Field(max_length=MAX_QUOTES)
    ]
    max_chars = MAX_EXPLANATION_CHARS
    if task != "aspects":
        max_chars = max(max_chars, CHARS_PER_TOKEN * max_tokens)
    explanation = Annotated[str, Field(max_length=max_chars)]
    aspect = Annotated[str, Field(min_length=1, max_length=MAX_ASPECT_CHARS)]
    field_types = {"aspect": aspect, "label": label, "explanation": explanation, "evidence": quotes}
    if task != "aspects":
        del field_types["aspect"]
    answer = _create_answer_model(
        "Answer", {names[role]: field_types[role] for role, _ in keys if role in field_types}
    )
    if task == "aspects":
        answer_list = Annotated[list[answer], Field(max_length=MAX_ASPECTS)]  # type: ignore[valid-type]
        answer = _create_answer_model("Answers", {names["aspects"]: answer_list})
    return answer.model_json_schema()


def _create_answer_model(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    required: dict[str, Any] = {field: (kind, ...) for field, kind in fields.items()}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **required)


TurnRole = Literal["system", "user", "assistant"]
TURN_ROLES: dict[str, TurnRole] = {"system": "system", "user": "user", "assistant": "assistant"}
SHOW_PLAINLY_HINT = (
    "show post, aspect and cues plainly, as in {{ post }}, without filters or slices"
)

_MARKER_PATTERN = re.compile(
    "\ufdd0(?P<untrusted>[^\ufdd0-\ufdd3]*)\ufdd1|\ufdd2(?P<sign>[^\ufdd0-\ufdd3]*)\ufdd3\n?"
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)


class UntrustedText:
    """A value that a template can show, whole, and nothing else: it has no parts to reach."""

    def __init__(self, text: str) -> None:
        self._text = NONCHARACTER.sub("\ufffd", text)
        self._render_count = 0

    def __bool__(self) -> bool:
        return bool(self._text)

    def __str__(self) -> str:
        self._render_count += 1
        return f"\ufdd0{self._text}\ufdd1"


def render(
    prompt: Prompt,
    post: Post,
    aspect: Aspect | None,
    cues: Mapping[str, Cue],
    images: Sequence[ImageInput],
    *,
    label: Polarity | None = None,
) -> Request:
    """The request that asks `prompt` about one aspect of `post` (None: the post as a whole).

    `cues` are by slot; a slot without a cue, or with an empty one, is absent. `label` is for
    prompts that ask only for the reason (`prompt.takes_label`). Aspect and cues are shown on one
    line each. Raises `UserError` for a cue without a slot, for pictures or a label that the prompt
    has no place for, and for a template that changes or cuts what came from the post.
    """
    _check_inputs(prompt, cues, images, label)
    untrusted = {
        "post": UntrustedText(post.text),
        "aspect": _single_line(aspect.term if aspect else ""),
    }
    untrusted |= {
        slot: _single_line(cues[slot].text if slot in cues else "") for slot in prompt.slots
    }
    values: dict[str, Any] = {
        **untrusted,
        "labels": {str(p): word for p, word in prompt.labels.items()},
        "label": prompt.labels[label] if label else "",
        "keys": dict(prompt.keys),
        "turn": _turn_marker,
        "images": lambda: "\ufdd2images\ufdd3",
        "mark": _fence_namer(_fence_haystack(prompt, untrusted.values())),
    }
    turns = _split_turns(render_template(prompt.sources, values), images, prompt.name)
    _check_complete(turns, untrusted.values(), images, prompt.name)
    label_words = tuple(prompt.labels[p] for p in prompt.labels if label in (None, p))
    keys, answer_options = tuple(prompt.keys.items()), prompt.options or label_words
    return Request(
        chat=Chat(turns=turns),
        max_new_tokens=prompt.max_new_tokens,
        choice=label_choice(prompt.task, keys, answer_options),
        json_schema=answer_schema(prompt.task, keys, answer_options, prompt.max_new_tokens),
        quote_source=post.text if prompt.quotes == "verbatim" else "",
    )


def count_noncharacters(*texts: str) -> int:
    """How many noncharacters of `texts` a prompt shows as U+FFFD instead."""
    return sum(len(NONCHARACTER.findall(text)) for text in texts)


def _check_inputs(
    prompt: Prompt, cues: Mapping[str, Cue], images: Sequence[ImageInput], label: Polarity | None
) -> None:
    for slot in sorted(set(cues) - set(prompt.slots)):
        slot_names = ", ".join(prompt.slots) or "none"
        raise UserError(
            f"prompt {prompt.name} has no slot {slot!r}; its slots: {slot_names}",
            hint="choose another prompt, or leave this cue out",
        )
    if images and not prompt.shows_images:
        raise UserError(
            f"prompt {prompt.name} has no place for pictures",
            hint="add {{ images() }} to it, or read the posts without pictures",
        )
    if prompt.takes_label != (label is not None):
        problem = "needs the label that is to be explained" if label is None else "takes no label"
        raise UserError(f"prompt {prompt.name} {problem}", hint="choose another prompt")


def _single_line(text: str) -> UntrustedText:
    """On one line, so that what it says cannot look like a new part of the prompt."""
    return UntrustedText(" ".join(text.split()))


def _turn_marker(role: str) -> str:
    if role not in TURN_ROLES:
        raise ValueError(f"no turn is called {role!r}; write one of {', '.join(TURN_ROLES)}")
    return f"\ufdd2{role}\ufdd3"


def _fence_haystack(prompt: Prompt, untrusted: Iterable[UntrustedText]) -> str:
    """What no fence may occur in: the post, and for a judge all that readers said of it too."""
    texts = [value._text for value in untrusted]
    return "\n".join(texts) if prompt.task == "judge" else texts[0]


def _fence_namer(text: str) -> Callable[[str], str]:
    """A function from a word to the first of WORD, WORD-2, WORD-3 … that `text` does not hold.

    Letter case, width and invisible characters make no difference to "hold". Linear in the text.
    """

    def unique_marker(word: str) -> str:
        haystack = _normalize(text)
        if _normalize(word) not in haystack:
            return word
        digits = re.findall(re.escape(_normalize(word)) + "-([0-9]{1,9})", haystack)
        used_numbers = {d[:n] for d in digits for n in range(1, len(d) + 1)}
        number = 2
        while str(number) in used_numbers:
            number += 1
        return f"{word}-{number}"

    return unique_marker


def _normalize(text: str) -> str:
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return unicodedata.normalize("NFKC", folded)


def _split_turns(rendered: str, images: Sequence[ImageInput], name: str) -> tuple[Turn, ...]:
    """The turns of a rendered template and, in each, its parts: ours, theirs, pictures."""
    turns: list[tuple[TurnRole, list[TextInput | ImageInput]]] = []
    at = 0
    for match in _MARKER_PATTERN.finditer(rendered):
        _append_text(turns, rendered[at : match.start()], name)
        at = match.end()
        if match["sign"] in TURN_ROLES:
            turns.append((TURN_ROLES[match["sign"]], []))
        elif not turns:
            raise UserError(f"prompt {name} shows something before its first turn")
        elif match["sign"]:
            turns[-1][1].extend(images)
        else:
            turns[-1][1].append(TextInput(text=match["untrusted"], untrusted=True))
    _append_text(turns, rendered[at:], name)
    if not turns:
        raise UserError(
            f"prompt {name} has no turn", hint='write {{ turn("user") }} above its text'
        )
    return tuple(Turn(role=role, parts=_trim_parts(parts)) for role, parts in turns)


def _append_text(
    turns: list[tuple[TurnRole, list[TextInput | ImageInput]]], text: str, name: str
) -> None:
    if NONCHARACTER.search(text):
        raise UserError(
            f"prompt {name} cuts something that must be shown whole", hint=SHOW_PLAINLY_HINT
        )
    if turns:
        turns[-1][1].append(TextInput(text=text))
    elif text.strip():
        hint = 'begin with {{ turn("system") }} or {{ turn("user") }}'
        raise UserError(f"prompt {name} shows something before its first turn", hint=hint)


def _trim_parts(parts: list[TextInput | ImageInput]) -> tuple[TextInput | ImageInput, ...]:
    """Parts without blanks of ours at either end, and without empty ones."""
    if parts and isinstance(parts[0], TextInput) and not parts[0].untrusted:
        parts[0] = TextInput(text=parts[0].text.lstrip())
    if parts and isinstance(parts[-1], TextInput) and not parts[-1].untrusted:
        parts[-1] = TextInput(text=parts[-1].text.rstrip())
    return tuple(p for p in parts if isinstance(p, ImageInput) or p.text)


def _check_complete(
    turns: Sequence[Turn],
    untrusted_values: Iterable[UntrustedText],
    images: Sequence[ImageInput],
    name: str,
) -> None:
    """Everything from outside came through whole, as often as the template asked for it."""
    parts = [p for turn in turns for p in turn.parts]
    rendered = Counter(p.text for p in parts if isinstance(p, TextInput) and p.untrusted)
    expected: Counter[str] = Counter()
    for value in untrusted_values:
        expected[value._text] += value._render_count if value else 0
    if rendered != +expected:
        raise UserError(
            f"prompt {name} changes or cuts what came from the post", hint=SHOW_PLAINLY_HINT
        )
    if [p for p in parts if isinstance(p, ImageInput)] != list(images):
        raise UserError(f"prompt {name} must show the pictures once", hint="{{ images() }}")
