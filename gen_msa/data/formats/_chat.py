"""Examples as chats to train on, and chats as examples: the mapping that three formats share.

One record an opinion. The user turn shows the pictures, the post's text and, unless the post is
read as a whole, a last line `Aspect: TERM` (with `(mention 2)` for a later mention of the same
word). The assistant turn is the polarity and, on the next line, the explanation; without a
polarity it is the reader's raw answer or its explanation; with neither there is no such turn. An
aspect about which nothing was said gives a record that ends with the user turn. The field
`gen_msa` holds the whole post and opinion as JSON text, so nothing is lost; a chat edited without
it is `Rejected`, never half read.

A record without that field is foreign: its last user turn is the post's text, the answer to it a
gold opinion with `raw` (`status=unparsed` unless it is exactly a polarity), its other turns go to
`meta["turns"]` and its other keys to `meta`. Knows nothing of how a format writes turns.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from gen_msa.data.formats._rows import GOLD, Line, images, no_room, polarity_of, rejected
from gen_msa.data.formats._turns import PLACEHOLDERS, Turns, turns_of
from gen_msa.jsonl import MAX_LINE, reason_of
from gen_msa.types import Aspect, Example, Opinion, Post, Rejected, Status

_MEND = "a record needs messages (or conversations) with a user turn, and images as paths"


class Own(BaseModel):
    """One opinion of a post, and which of the post's records it stands in."""

    model_config = ConfigDict(extra="forbid")

    post: Post
    opinion: Opinion | None = None
    aspect: Aspect | None = None
    """The aspect asked about, when nothing was said."""
    part: int

    @property
    def question(self) -> str:
        """The text of the user turn, without its pictures."""
        aspect = self.opinion.aspect if self.opinion else self.aspect
        if aspect is None or not aspect.term:
            return self.post.text
        before = self.post.text[: aspect.start or 0].count(aspect.term)
        return f"{self.post.text}\n\nAspect: {aspect.term}" + (
            f" (mention {before + 1})" if before else ""
        )

    @property
    def answer(self) -> str | None:
        """The text of the assistant turn, if there is one."""
        if self.opinion is None:
            return None
        if self.opinion.polarity is None:
            return self.opinion.raw or self.opinion.explanation or None
        reason = self.opinion.explanation
        return self.opinion.polarity.value + (f"\n{reason}" if reason else "")


Write = Callable[[str, str | None, list[str]], dict[str, Any]]
"""Question, answer and pictures as the turns of a record."""


def dump(name: str, example: Example, write: Write, *, placeholders: bool) -> list[dict[str, Any]]:
    """The records of an example, each with `id` and `gen_msa`.

    Raises `UserError` for media other than pictures and, where pictures are shown by
    `placeholders`, for words that a trainer would take for one.
    """
    post = example.post
    if any(m.kind != "image" for m in post.media):
        raise no_room(name, example, "post.media", "pictures only")
    parts = [Own(post=post, opinion=o, part=i) for i, o in enumerate(example.opinions)]
    asked = {o.aspect for o in example.opinions}
    bare: list[Aspect | None] = [a for a in post.aspects if a not in asked]
    if not parts and not bare:
        bare = [None]
    parts += [Own(post=post, aspect=a, part=len(parts) + i) for i, a in enumerate(bare)]
    records = []
    for own in parts:
        if placeholders:
            _refuse_placeholders(name, example, own)
        turns = write(own.question, own.answer, [m.path for m in post.media])
        record_id = post.id if len(parts) == 1 else f"{post.id}#{own.part + 1}"
        records.append({"id": record_id, **turns, "gen_msa": own.model_dump_json()})
    return records


def _refuse_placeholders(name: str, example: Example, own: Own) -> None:
    for word in PLACEHOLDERS:
        if word in own.question:
            raise no_room(name, example, "post.text", f"{word} would be read as media")
        if word in (own.answer or ""):
            raise no_room(name, example, "opinions", f"{word} would be read as media")


def parse(path: Path, found: Iterable[Line | Rejected]) -> Iterator[Example | Rejected]:
    """Records as examples; those of one post are joined, whatever became of the others."""
    held: list[Own] = []
    for item in found:
        row = item if isinstance(item, Rejected) else _read(path, *item)
        if isinstance(row, Own) and held and row.part > held[-1].part and row.post == held[0].post:
            held.append(row)
            continue
        if not isinstance(row, Rejected) and held:
            yield _joined(held)
            held = []
        if isinstance(row, Own):
            held = [row]
        else:
            yield row
    if held:
        yield _joined(held)


def _joined(parts: list[Own]) -> Example:
    return Example(post=parts[0].post, opinions=tuple(p.opinion for p in parts if p.opinion))


def _read(path: Path, number: int, raw: bytes) -> Own | Example | Rejected:
    try:
        if len(raw) > MAX_LINE:
            raise ValueError(f"record of {len(raw)} bytes is over the limit of {MAX_LINE}")
        chat = turns_of(raw)
        return _foreign(chat, f"{path.stem}-{number}") if chat.own is None else _own(chat, chat.own)
    except ValueError as e:
        reason = reason_of(e) if isinstance(e, ValidationError) else str(e)
        return rejected(path, number, reason, raw, _MEND)


def _own(chat: Turns, text: str) -> Own:
    own = Own.model_validate_json(text)
    said = [("user", own.question)]
    if own.answer is not None:
        said.append(("assistant", own.answer))
    if chat.turns != said or chat.images != [m.path for m in own.post.media]:
        raise ValueError("the chat and its field gen_msa differ: drop the field to read the chat")
    if chat.rest:
        raise ValueError(f"{next(iter(chat.rest))!r} stands beside gen_msa: drop one of the two")
    return own


def _foreign(chat: Turns, made_id: str) -> Example:
    asked = [i for i, (role, _) in enumerate(chat.turns) if role == "user"]
    if not asked:
        raise ValueError("there is no user turn")
    last = asked[-1]
    answers = chat.turns[last + 1 : last + 2]
    answer = answers[0][1] if answers and answers[0][0] == "assistant" else None
    used = (last,) if answer is None else (last, last + 1)
    others = [t for i, t in enumerate(chat.turns) if i not in used]
    turns: list[JsonValue] = [{"role": role, "text": text} for role, text in others]
    if turns and "turns" in chat.rest:
        raise ValueError("the record has a key `turns` of its own")
    post = Post(
        id=chat.id or made_id,
        text=chat.turns[last][1],
        media=images(chat.images),
        meta={**chat.rest, **({"turns": turns} if turns else {})},
    )
    return Example(post=post, opinions=() if answer is None else (_said(answer),))


def _said(answer: str) -> Opinion:
    word = polarity_of(answer.strip().removesuffix("."))
    status = Status.UNPARSED if word is None else Status.OK
    return Opinion(by=GOLD, polarity=word, raw=answer, status=status)
