"""Tokenize chats for one model, and group requests by the tokens they share.

The template is the model's own. Where it takes no system turn, the system text goes to the start of
the first user turn; a model without a template gets a plain layout (system text, blank line,
`User: …`, `Assistant:`). Both are noted.

    chat_tokenizer = ChatTokenizer(processor)
    chat_tokenizer.tokenize_request(0, request)
"""

import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jinja2 import TemplateError

from gen_msa.chat import (
    Chat,
    ChoiceSlot,
    ImageInput,
    Request,
    TextInput,
    Turn,
    escape_control_tokens,
    merge_adjacent_texts,
)
from gen_msa.errors import UserError, user_errors
from gen_msa.template_limits import check_template, limited_templates

# Decide which requests are decoded together and which prefix they share, from token ids alone.

MIN_SHARED_TOKENS = 8
"""Tokens that two neighbours must share beyond the instruction to be encoded together."""


@dataclass(frozen=True)
class TokenizedSlot:
    """A slot in tokens; `option_tokens[i]` holds the option and the suffix after it."""

    option_tokens: tuple[tuple[int, ...], ...]
    n_scored: tuple[int, ...]
    """How many of `option_tokens[i]` count for the option's log-probability."""


@dataclass(frozen=True)
class TokenizedRequest:
    """A request in tokens up to the first that the model chooses; images not expanded."""

    index: int
    ids: tuple[int, ...]
    text: str
    images: tuple[ImageInput, ...]
    slot: TokenizedSlot | None
    max_new_tokens: int
    """Limit on the tokens that the model chooses; the slot's suffix does not count."""
    notes: dict[str, str]
    quotes: str = ""
    """Text that everything in double quotes must occur in; "" for no constraint."""


@dataclass(frozen=True)
class RequestGroup:
    """Neighbouring requests with the same images and a common prefix."""

    rows: tuple[TokenizedRequest, ...]

    @property
    def length(self) -> int:
        """Return the tokens of the longest request, images not expanded."""
        return max(len(r.ids) for r in self.rows)


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Count the leading tokens that two sequences have in common.

    Args:
        a: Token ids.
        b: Token ids.

    Returns:
        Length of the common prefix.
    """
    end = min(len(a), len(b))
    if tuple(a[:end]) == tuple(b[:end]):
        return end
    return next(i for i in range(end) if a[i] != b[i])


def instruction_prefix(
    rows: Sequence[TokenizedRequest], placeholders: Collection[int]
) -> tuple[int, ...]:
    """Find the common prefix of all requests, up to the first image.

    Args:
        rows: Requests.
        placeholders: Token ids that stand for an image.

    Returns:
        Token ids; never a complete request. Empty for fewer than two requests.
    """
    if len(rows) < 2:
        return ()
    first = rows[0].ids
    end = min(len(r.ids) for r in rows) - 1
    for row in rows[1:]:
        end = min(end, common_prefix_length(first, row.ids))
    stop = next((i for i, t in enumerate(first[:end]) if t in placeholders), end)
    return tuple(first[:stop])


def group_requests(
    rows: Sequence[TokenizedRequest], shared: int, max_rows: int
) -> list[RequestGroup]:
    """Group neighbours that have a common prefix beyond the instruction.

    A group ends where the next request would shorten the common prefix by more than half.

    Args:
        rows: Requests, those about one post side by side.
        shared: Leading tokens that all requests share.
        max_rows: Largest number of requests in a group.

    Returns:
        The groups, in order.
    """
    out: list[list[TokenizedRequest]] = []
    shared_length = 0
    for row in rows:
        last = out[-1] if out else []
        if last and last[-1].images == row.images and len(last) < max_rows:
            n_shared = common_prefix_length(last[0].ids, row.ids) - shared
            if n_shared >= MIN_SHARED_TOKENS and 2 * n_shared >= shared_length:
                shared_length = n_shared if len(last) == 1 else min(shared_length, n_shared)
                last.append(row)
                continue
        out.append([row])
        shared_length = 0
    return [RequestGroup(tuple(g)) for g in out]


def batch_groups(groups: Sequence[RequestGroup], size: int) -> list[list[RequestGroup]]:
    """Put groups of similar length together.

    Args:
        groups: Groups of requests.
        size: Largest number of requests in a batch.

    Returns:
        Batches, longest requests first.
    """
    out: list[list[RequestGroup]] = []
    free_rows = 0
    for group in sorted(groups, key=lambda g: (-g.length, g.rows[0].index)):
        if len(group.rows) > free_rows:
            out.append([])
            free_rows = size
        out[-1].append(group)
        free_rows -= len(group.rows)
    return out


class RenderedPrompt(NamedTuple):
    """A chat as one string with image placeholders, its tokens, images and notes."""

    text: str
    ids: list[int]
    images: tuple[ImageInput, ...]
    notes: dict[str, str]


TEMPLATE_DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""What templates that show today's date show in every render (Llama 3's own default), so that a
prompt is the same tomorrow: in training, prediction, probes and keys of the answer cache.
"""


_DATE_CALL = re.compile(r"""strftime_now\(\s*(?P<quote>['"])(?P<format>[^'"]*)(?P=quote)\s*\)""")


def fixed_date_arguments(template: Any) -> dict[str, str]:
    """Return arguments for rendering a chat template that shows today's date with a fixed one.

    Args:
        template: The template, or several by name, of which `default` is used.

    Returns:
        `chat_template` with `TEMPLATE_DATE` in place of calls of `strftime_now`; empty for a
        template that shows no date.
    """
    text = template.get("default", "") if isinstance(template, dict) else template or ""
    if "strftime_now" not in text:
        return {}
    fixed = _DATE_CALL.sub(lambda m: f"'{TEMPLATE_DATE.strftime(m['format'])}'", text)
    if "strftime_now(" in fixed:  # a format that is computed
        date = f"{TEMPLATE_DATE:%d %b %Y}"
        fixed = f"{{% macro strftime_now(format) %}}{date}{{% endmacro %}}{fixed}"
    return {"chat_template": fixed}


class ChatTokenizer:
    """Tokenizer of chats for one model."""

    def __init__(self, processor: Any) -> None:
        """Inspect a processor (a tokenizer for a text-only model) and its template."""
        self.processor = processor
        self.supports_images: bool = hasattr(processor, "image_processor")
        self.tokenizer = processor.tokenizer if self.supports_images else processor
        self.control_tokens = _control_strings(self.tokenizer, processor)
        unknown = self.tokenizer.unk_token_id
        ids = self.tokenizer.convert_tokens_to_ids(sorted(self.control_tokens))
        self.control_ids = frozenset(i for i in ids if i is not None and i != unknown)
        self.placeholder: str = getattr(processor, "image_token", None) or "<image>"
        owner = processor if getattr(processor, "chat_template", None) else self.tokenizer
        self._template_owner = owner if getattr(owner, "chat_template", None) else None
        if self._template_owner is not None:
            check_template(self._template_owner.chat_template, "the model")
        self._takes_content_parts = self._template_shows(
            [{"role": "user", "content": [{"type": "text", "text": "qzx"}]}]
        )
        self._takes_system_turn = self._template_shows(
            [self._message("system", ["qzx"]), self._message("user", ["b"])]
        ) or not self._template_shows([self._message("user", ["qzx"])])
        if self._template_owner is not None and not self._template_shows_the_post():
            raise UserError(
                "the chat template of the model leaves out the user's text",
                hint="restore the chat_template of the model; posts would not be seen",
            )
        self._n_visible_images = self._count_visible_images()

    def render_prompt(self, chat: Chat) -> RenderedPrompt:
        """Render a chat with the model's template.

        Args:
            chat: The chat.

        Returns:
            The prompt.

        Raises:
            ValueError: The text contains control tokens that cannot be escaped, or the template
                shows one image and the chat has several.
            UserError: The template leaves out images.
        """
        if chat.images and not self._n_visible_images:
            raise UserError(
                "the chat template of the model leaves out images",
                hint="restore the chat_template of the model, or add images=false",
            )
        if len(chat.images) > 1 == self._n_visible_images:
            raise ValueError(f"the chat template shows one image of {len(chat.images)}")
        notes: dict[str, str] = {}
        n_escaped = 0
        turns: list[tuple[str, list[str | None]]] = []
        for turn in chat.turns:
            parts, count = self._turn_parts(turn)
            turns.append((turn.role, parts))
            n_escaped += count
        if n_escaped:
            notes["escaped_control_tokens"] = str(n_escaped)
        if chat.images and not self.supports_images:
            notes["images"] = "not shown"
        if (
            turns
            and turns[0][0] == "system"
            and self._template_owner
            and not self._takes_system_turn
        ):
            turns = _system_into_user(turns)
            notes["system"] = "at the start of the first user turn"
        if self._template_owner is None:
            notes["template"] = "none (plain layout)"
        text = self._render_turns(turns)
        return RenderedPrompt(
            text, self.tokenize(text), chat.images if self.supports_images else (), notes
        )

    def tokenize_request(self, index: int, request: Request) -> TokenizedRequest:
        """Tokenize a request up to the first token that the model chooses.

        Args:
            index: Index of the request among those completed together.
            request: The request.

        Returns:
            The request in tokens.

        Raises:
            ValueError: The text contains control tokens that cannot be escaped, or two options of
                the slot
                have the same tokens.
        """
        prompt = self.render_prompt(request.chat)
        ids, slot = prompt.ids, None
        if request.choice is not None:
            ids, slot = self._tokenize_slot(prompt.text, request.choice)
        notes = {"form": "slot" if slot else "free", **prompt.notes}
        if request.temperature > 0:
            notes["temperature"] = "0 (this backend is greedy)"
        if request.quote_source:
            notes["quotes"] = "verbatim"
        # Nothing follows a slot without a suffix: the answer is complete with its option.
        is_complete = slot is not None and request.choice is not None and not request.choice.suffix
        max_new_tokens = 1 if is_complete else request.max_new_tokens
        prompt_fields = (
            prompt.text,
            prompt.images,
            slot,
            max_new_tokens,
            notes,
            request.quote_source,
        )
        return TokenizedRequest(index, tuple(ids), *prompt_fields)

    def adds_special(self, text: str) -> bool:
        """Return whether the tokenizer must add BOS, by the rule of `apply_chat_template`."""
        bos = self.tokenizer.bos_token
        if self._template_owner is not None and not self.supports_images:
            return False
        return not (bos and text.startswith(bos))

    def tokenize(self, text: str, base: str = "") -> list[int]:
        """Tokenize a rendered prompt.

        Args:
            text: Prompt and perhaps the start of an answer, with image placeholders.
            base: The prompt that `text` begins with; it decides about BOS.

        Returns:
            Token ids.
        """
        add_special_tokens = self.adds_special(base or text)
        # A panic of the library is no `Exception`; here it concerns one request.
        with user_errors("the tokenizer of the model", "cannot encode a text"):
            token_ids: list[int] = self.tokenizer(text, add_special_tokens=add_special_tokens)[
                "input_ids"
            ]
        return token_ids

    def decode(self, ids: Sequence[int], context: Sequence[int]) -> str:
        """Decode tokens in context.

        Args:
            ids: Token ids to decode.
            context: Token ids before them.

        Returns:
            The text that `ids` add after `context`, without an incomplete character at the end.
        """
        context_text: str = self.tokenizer.decode(list(context), skip_special_tokens=True)
        full_text: str = self.tokenizer.decode([*context, *ids], skip_special_tokens=True)
        if not full_text.startswith(context_text):
            full_text, context_text = self.tokenizer.decode(list(ids), skip_special_tokens=True), ""
        return full_text[len(context_text) :].rstrip("\ufffd")

    def end_ids(self) -> set[int]:
        """Return the tokens that end a turn: EOS, and what the template puts there."""
        token_ids: set[int] = {self.tokenizer.eos_token_id} - {None}
        turns = [self._message("user", ["b"]), self._message("assistant", ["qzx"])]
        after_answer = self._try_template(turns, generate=False).partition("qzx")[2].lstrip()
        end_tokens = [s for s in self.control_tokens if after_answer.startswith(s)]
        if end_tokens:
            token_ids.add(self.tokenizer.convert_tokens_to_ids(max(end_tokens, key=len)))
        return token_ids

    def _turn_parts(self, turn: Turn) -> tuple[list[str | None], int]:
        """Return the texts of a turn, untrusted ones escaped; None stands for an image."""
        out: list[str | None] = []
        n_escaped = 0
        visible_parts = [p for p in turn.parts if self.supports_images or isinstance(p, TextInput)]
        for part in merge_adjacent_texts(visible_parts):
            if isinstance(part, ImageInput):
                out.append(None)
                continue
            text, count = (
                escape_control_tokens(part.text, self.control_tokens)
                if part.untrusted
                else (part.text, 0)
            )
            if part.untrusted:
                self._refuse_control(part, text)
            out.append(text)
            n_escaped += count
        return out, n_escaped

    def _refuse_control(self, part: TextInput, text: str) -> None:
        """Refuse control tokens that cannot be escaped: single characters, odd normalisers."""
        remaining_ids = self.control_ids.intersection(
            self.tokenizer(text, add_special_tokens=False)["input_ids"]
        )
        if remaining_ids:
            names = self.tokenizer.convert_ids_to_tokens(sorted(remaining_ids))
            raise ValueError(f"the post contains control tokens that cannot be escaped: {names}")

    def _tokenize_slot(self, text: str, choice: ChoiceSlot) -> tuple[list[int], TokenizedSlot]:
        """Return the tokens up to where the options differ, and those of each option."""
        full_ids = [
            self.tokenize(text + choice.prefix + o + choice.suffix, text) for o in choice.options
        ]
        option_ids = [self.tokenize(text + choice.prefix + o, text) for o in choice.options]
        prefix_ids = self.tokenize(text + choice.prefix, text)
        base = min(common_prefix_length(prefix_ids, ids) for ids in full_ids)
        n_scored = [
            common_prefix_length(option, full) - base
            for option, full in zip(option_ids, full_ids, strict=True)
        ]
        scored_ids = [
            tuple(ids[base : base + n]) for ids, n in zip(full_ids, n_scored, strict=True)
        ]
        if any(a == b[: len(a)] for a, b in itertools.permutations(scored_ids, 2)):
            # One option begins another, or merges with the suffix: later tokens decide.
            n_scored = [len(ids) - base for ids in full_ids]
        option_tokens = tuple(tuple(ids[base:]) for ids in full_ids)
        if len(choice.options) > 1 and not all(n_scored):
            raise ValueError(f"the options {choice.options} have the same tokens in this tokenizer")
        return full_ids[0][:base], TokenizedSlot(option_tokens, tuple(n_scored))

    def _message(self, role: str, parts: Sequence[str | None]) -> dict[str, Any]:
        if not self._takes_content_parts:
            return {"role": role, "content": self._inline_text(parts)}
        content: list[dict[str, str]] = []
        # One text between images: some templates strip every text part.
        for is_image, run in itertools.groupby(parts, key=lambda p: p is None):
            if is_image:
                content += [{"type": "image"} for _ in run]
            else:
                content.append({"type": "text", "text": self._inline_text(list(run))})
        return {"role": role, "content": content}

    def _inline_text(self, parts: Sequence[str | None]) -> str:
        return "".join(self.placeholder if p is None else p for p in parts)

    def _render_turns(self, turns: Sequence[tuple[str, list[str | None]]]) -> str:
        if self._template_owner is not None:
            messages = [self._message(role, parts) for role, parts in turns]
            return str(self._apply_template(messages, generate=True))
        names = {"system": "", "user": "User: ", "assistant": "Assistant: "}
        lines = [names[role] + self._inline_text(parts) for role, parts in turns]
        return "\n\n".join([*lines, "Assistant:"])

    def _apply_template(self, messages: list[dict[str, Any]], *, generate: bool) -> str:
        owner: Any = self._template_owner
        with limited_templates():
            text: str = owner.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=generate,
                **fixed_date_arguments(owner.chat_template),
            )
        return text

    def _try_template(self, messages: list[dict[str, Any]], *, generate: bool = True) -> str:
        try:
            return self._apply_template(messages, generate=generate) if self._template_owner else ""
        except (TemplateError, TypeError, ValueError):
            return ""

    def _template_shows(self, messages: list[dict[str, Any]]) -> bool:
        """Return whether the template takes these turns and renders their text, not a repr."""
        text = self._try_template(messages)
        return "qzx" in text and "'type'" not in text

    def _count_visible_images(self) -> int:
        """Return how many of two images the template shows, 0 to 2; 2 if it cannot be tried."""
        if self._template_owner is None or not self.supports_images:
            return 2
        texts = [
            self._try_template([self._message("user", [*[None] * n, "qzx"])]) for n in range(3)
        ]
        if not all("qzx" in text for text in texts):
            return 2
        return sum(len(more) > len(fewer) for fewer, more in itertools.pairwise(texts))

    def _template_shows_the_post(self) -> bool:
        """Return whether a chat of any usual shape shows its text, or fails for another reason."""
        user = self._message("user", ["qzx"])
        chats = ([user], [self._message("system", ["b"]), user])
        texts = [self._try_template(chat, generate=g) for chat in chats for g in (True, False)]
        return any("qzx" in text for text in texts) or not any(texts)


def _system_into_user(
    turns: list[tuple[str, list[str | None]]],
) -> list[tuple[str, list[str | None]]]:
    system, other_turns = turns[0], turns[1:]
    if not other_turns or other_turns[0][0] != "user":
        return [("user", system[1]), *other_turns]
    return [("user", [*system[1], "\n\n", *other_turns[0][1]]), *other_turns[1:]]


def _control_strings(tokenizer: Any, processor: Any) -> frozenset[str]:
    """Return special tokens, added tokens in brackets, and the processor's image tokens."""
    strings = {str(t) for t in tokenizer.all_special_tokens}
    for token in tokenizer.added_tokens_decoder.values():
        if token.special or (token.content[:1] in "<[" and token.content[-1:] in ">]"):
            strings.add(token.content)
    for name in ("image_token", "boi_token", "eoi_token", "fake_image_token", "video_token"):
        image_mark = getattr(processor, name, None)
        if isinstance(image_mark, str):
            strings.add(image_mark)
    return frozenset(s for s in strings if s.strip())
