"""From a chat to the tokens of one model: template, control strings, slot, pictures.

Knows a tokenizer or processor and nothing of weights. The template is the model's own; one that
takes no system turn gets it at the head of the first user turn, and a model without a template gets
a plain layout (`system`, blank line, `User: …`, `Assistant:`); both are noted.

    layout = Layout(processor)
    layout.row(0, request)
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from gen_msa.backends.local.plan import Row, Slot, common
from gen_msa.backends.neutral import joined, neutralise
from gen_msa.chat import Chat, Choice, Picture, Request, Text, Turn


class Prompt(NamedTuple):
    """A chat as one string with picture placeholders, its tokens, and what must be said of it."""

    text: str
    ids: list[int]
    pictures: tuple[Picture, ...]
    notes: dict[str, str]


class Layout:
    """The words side of one model. `processor` is its processor, or its tokenizer if text-only."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.sees_pictures: bool = hasattr(processor, "image_processor")
        self.tokenizer = processor.tokenizer if self.sees_pictures else processor
        self.control = _control_strings(self.tokenizer, processor)
        unknown = self.tokenizer.unk_token_id
        ids = self.tokenizer.convert_tokens_to_ids(sorted(self.control))
        self.control_ids = frozenset(i for i in ids if i is not None and i != unknown)
        self.placeholder: str = getattr(processor, "image_token", None) or "<image>"
        owner = processor if getattr(processor, "chat_template", None) else self.tokenizer
        self._owner = owner if getattr(owner, "chat_template", None) else None
        self._typed = self._shows([{"role": "user", "content": [{"type": "text", "text": "qzx"}]}])
        self._system = self._shows(
            [self._message("system", ["qzx"]), self._message("user", ["b"])]
        ) or not self._shows([self._message("user", ["qzx"])])

    def prompt(self, chat: Chat) -> Prompt:
        """The chat as this model is shown it. Raises ValueError if a control token survives."""
        notes: dict[str, str] = {}
        broken = 0
        turns: list[tuple[str, list[str | None]]] = []
        for turn in chat.turns:
            parts, count = self._parts(turn)
            turns.append((turn.role, parts))
            broken += count
        if broken:
            notes["neutralised"] = str(broken)
        if chat.pictures and not self.sees_pictures:
            notes["pictures"] = "not shown"
        if turns and turns[0][0] == "system" and self._owner and not self._system:
            turns = _system_into_user(turns)
            notes["system"] = "at the head of the first user turn"
        if self._owner is None:
            notes["template"] = "none (plain layout)"
        text = self._rendered(turns)
        return Prompt(text, self.ids(text), chat.pictures if self.sees_pictures else (), notes)

    def row(self, index: int, request: Request) -> Row:
        """A request as a row of tokens that ends where the model's own choice begins."""
        prompt = self.prompt(request.chat)
        ids, slot = prompt.ids, None
        if request.choice is not None:
            ids, slot = self._slot(prompt.text, request.choice)
        notes = {"form": "slot" if slot else "free", **prompt.notes}
        if request.temperature > 0:
            notes["temperature"] = "0 (this backend is greedy)"
        if request.quotes:
            notes["quotes"] = "verbatim"
        budget = request.max_new_tokens
        shown = prompt.text, prompt.pictures, slot, budget, notes, request.quotes
        return Row(index, tuple(ids), *shown)

    def adds_special(self, text: str) -> bool:
        """Whether the tokenizer is to add its own BOS, by the rule of `apply_chat_template`."""
        bos = self.tokenizer.bos_token
        if self._owner is not None and not self.sees_pictures:
            return False
        return not (bos and text.startswith(bos))

    def ids(self, text: str, base: str = "") -> list[int]:
        """Tokens of `text`, pictures as placeholders; `base` is the prompt it begins with."""
        special = self.adds_special(base or text)
        found: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return found

    def decode(self, ids: Sequence[int], context: Sequence[int]) -> str:
        """Text of `ids` as it reads after `context`; half a character at the end is left out."""
        head: str = self.tokenizer.decode(list(context), skip_special_tokens=True)
        whole: str = self.tokenizer.decode([*context, *ids], skip_special_tokens=True)
        if not whole.startswith(head):
            whole, head = self.tokenizer.decode(list(ids), skip_special_tokens=True), ""
        return whole[len(head) :].rstrip("\ufffd")

    def ends(self) -> set[int]:
        """Tokens that close a turn: the tokenizer's EOS, and what the template puts there."""
        found: set[int] = {self.tokenizer.eos_token_id} - {None}
        turns = [self._message("user", ["b"]), self._message("assistant", ["qzx"])]
        after = self._try(turns, generate=False).partition("qzx")[2].lstrip()
        close = [s for s in self.control if after.startswith(s)]
        if close:
            found.add(self.tokenizer.convert_tokens_to_ids(max(close, key=len)))
        return found

    def _parts(self, turn: Turn) -> tuple[list[str | None], int]:
        """Texts of a turn, control strings broken up where untrusted; None stands for a picture."""
        out: list[str | None] = []
        broken = 0
        shown = [p for p in turn.parts if self.sees_pictures or isinstance(p, Text)]
        for part in joined(shown):
            if isinstance(part, Picture):
                out.append(None)
                continue
            text, count = neutralise(part.text, self.control) if part.untrusted else (part.text, 0)
            if part.untrusted:
                self._refuse_control(part, text)
            out.append(text)
            broken += count
        return out, broken

    def _refuse_control(self, part: Text, text: str) -> None:
        """One-character control tokens and odd normalisers: what cannot be broken up is refused."""
        left = self.control_ids.intersection(
            self.tokenizer(text, add_special_tokens=False)["input_ids"]
        )
        if left:
            names = self.tokenizer.convert_ids_to_tokens(sorted(left))
            raise ValueError(f"the post holds control tokens that cannot be broken up: {names}")

    def _slot(self, text: str, choice: Choice) -> tuple[list[int], Slot]:
        """Tokens up to where the options part, and each option's own, as the model reads them."""
        whole = [self.ids(text + choice.lead + o + choice.then, text) for o in choice.options]
        named = [self.ids(text + choice.lead + o, text) for o in choice.options]
        bare = self.ids(text + choice.lead, text)
        base = min(common(bare, w) for w in whole)
        scored = [common(n, w) - base for n, w in zip(named, whole, strict=True)]
        own = [tuple(w[base : base + k]) for w, k in zip(whole, scored, strict=True)]
        if any(a == b[: len(a)] for a, b in itertools.permutations(own, 2)):
            # One option begins another, or melts into the next word: what follows tells them apart.
            scored = [len(w) - base for w in whole]
        forced = tuple(tuple(w[base:]) for w in whole)
        if len(choice.options) > 1 and not all(scored):
            raise ValueError(f"the options {choice.options} cannot be told apart in this tokenizer")
        return whole[0][:base], Slot(forced, tuple(scored))

    def _message(self, role: str, parts: Sequence[str | None]) -> dict[str, Any]:
        if not self._typed:
            return {"role": role, "content": self._inline(parts)}
        content: list[dict[str, str]] = []
        # One text between pictures: some templates trim every text they are given.
        for shown, run in itertools.groupby(parts, key=lambda p: p is None):
            if shown:
                content += [{"type": "image"} for _ in run]
            else:
                content.append({"type": "text", "text": self._inline(list(run))})
        return {"role": role, "content": content}

    def _inline(self, parts: Sequence[str | None]) -> str:
        return "".join(self.placeholder if p is None else p for p in parts)

    def _rendered(self, turns: Sequence[tuple[str, list[str | None]]]) -> str:
        if self._owner is not None:
            messages = [self._message(role, parts) for role, parts in turns]
            return str(self._template(messages, generate=True))
        names = {"system": "", "user": "User: ", "assistant": "Assistant: "}
        lines = [names[role] + self._inline(parts) for role, parts in turns]
        return "\n\n".join([*lines, "Assistant:"])

    def _template(self, messages: list[dict[str, Any]], *, generate: bool) -> str:
        owner: Any = self._owner
        text: str = owner.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generate
        )
        return text

    def _try(self, messages: list[dict[str, Any]], *, generate: bool = True) -> str:
        try:
            return self._template(messages, generate=generate) if self._owner else ""
        except (TemplateError, TypeError, ValueError):
            return ""

    def _shows(self, messages: list[dict[str, Any]]) -> bool:
        """Whether the template takes these turns and shows their words, not their Python."""
        text = self._try(messages)
        return "qzx" in text and "'type'" not in text


def _system_into_user(
    turns: list[tuple[str, list[str | None]]],
) -> list[tuple[str, list[str | None]]]:
    system, rest = turns[0], turns[1:]
    if not rest or rest[0][0] != "user":
        return [("user", system[1]), *rest]
    return [("user", [*system[1], "\n\n", *rest[0][1]]), *rest[1:]]


def _control_strings(tokenizer: Any, processor: Any) -> frozenset[str]:
    """Special tokens, added tokens in brackets, and the processor's picture marks."""
    found = {str(t) for t in tokenizer.all_special_tokens}
    for token in tokenizer.added_tokens_decoder.values():
        if token.special or (token.content[:1] in "<[" and token.content[-1:] in ">]"):
            found.add(token.content)
    for name in ("image_token", "boi_token", "eoi_token", "fake_image_token", "video_token"):
        mark = getattr(processor, name, None)
        if isinstance(mark, str):
            found.add(mark)
    return frozenset(s for s in found if s.strip())
