"""Render a prompt: a post, an aspect, cues and images become one `Request`.

While the template runs, text from outside is enclosed in noncharacters (U+FDD0 … U+FDD1), then
split off as `TextInput(untrusted=True)`, so rendering keeps trusted and untrusted text apart.
Turns and images are marked with U+FDD2 … U+FDD3.

    render(load_prompt("predict/plain"), post, post.aspects[0], cues={}, images=())
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
from gen_msa.prompting.prompt import Prompt, render_template
from gen_msa.spans import NONCHARACTER
from gen_msa.types import Aspect, Cue, Polarity, Post

MAX_EXPLANATION_CHARS = 300
"""Characters of an explanation, about 70 tokens; a higher token limit allows more."""
CHARS_PER_TOKEN = 3
"""Characters of an explanation for each token of the limit. Fewer than an average token has, so
that the answer is closed before the limit."""
MAX_QUOTES = 3
MAX_QUOTE_CHARS = 80
MAX_ASPECTS = 32
MAX_ASPECT_CHARS = 80

AnswerKeys = tuple[tuple[str, str], ...]


def label_choice(task: str, keys: AnswerKeys, label_words: tuple[str, ...]) -> ChoiceSlot | None:
    """Return the label slot of an answer in keyed lines.

    Args:
        task: The prompt's task.
        keys: (role, name) of each answer line, in order.
        label_words: The options of the slot.

    Returns:
        The slot; None for a joint answer, which has no single label, and where the explanation
        comes before the label.
    """
    names = dict(keys)
    if task == "aspects" or next(iter(names)) != "label":
        return None
    # The blank belongs to the option: tokenizers join it to the word that follows.
    suffix = f"\n{names['explanation']}:" if "explanation" in names else ""
    return ChoiceSlot(
        prefix=f"{names['label']}:", options=tuple(f" {w}" for w in label_words), suffix=suffix
    )


@functools.lru_cache(maxsize=256)
def answer_schema(
    task: str, keys: AnswerKeys, label_words: tuple[str, ...], max_tokens: int
) -> dict[str, JsonValue]:
    """Return the JSON schema of an answer: the fields of `keys` in order, all required, no others.

    Args:
        task: The prompt's task.
        keys: (role, name) of each field, in order.
        label_words: The values of the label.
        max_tokens: The token limit of the answer; it bounds the length of an explanation.
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
SHOW_PLAINLY_HINT = "show post, aspect and cues as in {{ post }}, without filters or slices"

_MARKER_PATTERN = re.compile(
    "\ufdd0(?P<untrusted>[^\ufdd0-\ufdd3]*)\ufdd1|\ufdd2(?P<marker>[^\ufdd0-\ufdd3]*)\ufdd3\n?"
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)


class UntrustedText:
    """A value that a template can show complete and in no other way: it has no public parts."""

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
    """Build the request that asks `prompt` about one aspect of `post`.

    Args:
        prompt: The prompt.
        post: The post.
        aspect: The aspect; None for the post as a whole. It is shown on one line.
        cues: Cue by slot, each shown on one line. A missing or empty cue leaves its slot empty.
        images: The images of the post, each shown once.
        label: The label to explain, for prompts with `takes_label` only.

    Returns:
        The chat, with the constraints and the token limit of its answer.

    Raises:
        UserError: A cue has no slot, the prompt has no place for images or for a label, or the
            template changes or cuts what came from the post.
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


def without_explanation(prompt: Prompt, request: Request) -> Request:
    """Return a request whose answer ends with the label.

    Args:
        prompt: The prompt that the request was rendered from.
        request: The request.

    Returns:
        The request with a slot and a schema for the label alone; unchanged for a list of aspects,
        and where the answer begins with the explanation, which may decide the label.
    """
    if request.choice is None:
        return request
    keys = tuple((role, name) for role, name in prompt.keys.items() if role == "label")
    options = tuple(option.strip() for option in request.choice.options)
    return request.model_copy(
        update={
            "choice": request.choice.model_copy(update={"suffix": ""}),
            "json_schema": answer_schema(prompt.task, keys, options, prompt.max_new_tokens),
            "quote_source": "",
        }
    )


def count_noncharacters(*texts: str) -> int:
    """Count the noncharacters of `texts`, which a prompt shows as U+FFFD."""
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
            f"prompt {prompt.name} has no place for images",
            hint="add {{ images() }} to it, or use the posts without images",
        )
    if prompt.takes_label != (label is not None):
        problem = "needs the label to explain" if label is None else "takes no label"
        raise UserError(f"prompt {prompt.name} {problem}", hint="choose another prompt")


def _single_line(text: str) -> UntrustedText:
    """Return `text` on one line, so that it cannot imitate a new section of the prompt."""
    return UntrustedText(" ".join(text.split()))


def _turn_marker(role: str) -> str:
    if role not in TURN_ROLES:
        raise ValueError(f"no turn has the role {role!r}; use one of {', '.join(TURN_ROLES)}")
    return f"\ufdd2{role}\ufdd3"


def _fence_haystack(prompt: Prompt, untrusted: Iterable[UntrustedText]) -> str:
    """Return the text that no fence may occur in; for a judge, that includes all slots."""
    texts = [value._text for value in untrusted]
    return "\n".join(texts) if prompt.task == "judge" else texts[0]


def _fence_namer(text: str) -> Callable[[str], str]:
    """Return a function from a word to the first of WORD, WORD-2, WORD-3 … that is not in `text`.

    The comparison ignores letter case, width and invisible characters. Linear in the text.
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
    """Split a rendered template into turns of trusted text, untrusted text and images."""
    turns: list[tuple[TurnRole, list[TextInput | ImageInput]]] = []
    at = 0
    for match in _MARKER_PATTERN.finditer(rendered):
        _append_text(turns, rendered[at : match.start()], name)
        at = match.end()
        if match["marker"] in TURN_ROLES:
            turns.append((TURN_ROLES[match["marker"]], []))
        elif not turns:
            raise UserError(f"prompt {name} shows something before its first turn")
        elif match["marker"]:
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
            f"prompt {name} cuts something that must be shown in full", hint=SHOW_PLAINLY_HINT
        )
    if turns:
        turns[-1][1].append(TextInput(text=text))
    elif text.strip():
        hint = 'begin with {{ turn("system") }} or {{ turn("user") }}'
        raise UserError(f"prompt {name} shows something before its first turn", hint=hint)


def _trim_parts(parts: list[TextInput | ImageInput]) -> tuple[TextInput | ImageInput, ...]:
    """Strip trusted blanks at both ends and drop empty parts."""
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
    """Check that all untrusted text came through unchanged, as often as the template used it."""
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
        raise UserError(f"prompt {name} must show the images exactly once", hint="{{ images() }}")
