"""What a model is to answer: an opinion written in a prompt's own form, cut into fields.

The inverse of `answers`: reading a target gives the opinion back. The order of the answer is the
order of `keys` in the prompt's front matter. Knows nothing of tokens.

    target(load("reader/full"), [opinion]).text      # 'Sentiment: positive\\nExplanation: …'
"""

import json
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from gen_msa.errors import UserError
from gen_msa.prompting.prompt import Prompt
from gen_msa.types import Opinion

Field = Literal["label", "explanation", "aspect", "form"]


class Piece(NamedTuple):
    """A run of an answer that belongs to one field; `form` is keys, quotes and line ends."""

    text: str
    field: Field


class Target(NamedTuple):
    """A whole answer, or the beginning of one when there is no reason to go on with."""

    pieces: tuple[Piece, ...]
    complete: bool
    """False when a reason is asked but none is known: it ends after the label, and the model is
    not taught to stop there."""

    @property
    def text(self) -> str:
        """The answer as the model is to write it."""
        return "".join(p.text for p in self.pieces)


def target(prompt: Prompt, opinions: Sequence[Opinion]) -> Target:
    """The answer to `prompt` that says `opinions`: one, or for the joint task all of a post.

    Raises `UserError` for an opinion without polarity, where a reason is needed before the label
    but is not there, and for a judge's prompt, whose answer is no opinion.
    """
    if prompt.task == "judge":
        raise UserError(f"prompt {prompt.name} is for judges", mend="choose one of reader/")
    for opinion in opinions:
        if opinion.polarity is None:
            raise UserError(f"{opinion.by} gives no polarity for {opinion.aspect.term!r}")
    if prompt.task == "aspects":
        return Target(tuple(_joint(prompt, opinions)), complete=True)
    if len(opinions) != 1:
        raise UserError(f"prompt {prompt.name} answers about one aspect, not {len(opinions)}")
    return _lines(prompt, opinions[0])


def _lines(prompt: Prompt, opinion: Opinion) -> Target:
    reason = _one_line(opinion.explanation)
    pieces: list[Piece] = []
    for role in (r for r in prompt.keys if r in ("label", "explanation")):
        key = f"{prompt.keys[role]}:"
        if role == "explanation" and not reason:
            if not pieces or prompt.takes_label:
                raise UserError(f"prompt {prompt.name} needs a reason for {opinion.aspect.term!r}")
            return Target(tuple(pieces), complete=False)
        pieces.append(Piece(f"\n{key}" if pieces else key, "form"))
        if role == "explanation":
            pieces.append(Piece(f" {reason}", "explanation"))
        else:
            # A label that was given is copied, not learned.
            field: Field = "form" if prompt.takes_label else "label"
            pieces.append(Piece(f" {_word(prompt, opinion)}", field))
    return Target(tuple(pieces), complete=True)


def _joint(prompt: Prompt, opinions: Sequence[Opinion]) -> Iterator[Piece]:
    keys = {role: name.lower() for role, name in prompt.keys.items()}
    yield Piece(f'{{"{keys["aspects"]}": [', "form")
    for i, opinion in enumerate(opinions):
        yield Piece(", {" if i else "{", "form")
        said = {
            "aspect": opinion.aspect.term,
            "label": _word(prompt, opinion),
            "explanation": _one_line(opinion.explanation),
        }
        roles = [r for r in prompt.keys if said.get(r) and r in said]
        for j, role in enumerate(roles):
            yield Piece(f'{", " if j else ""}"{keys[role]}": "', "form")
            field: Field = role  # type: ignore[assignment]
            yield Piece(json.dumps(said[role], ensure_ascii=False)[1:-1], field)
            yield Piece('"', "form")
        yield Piece("}", "form")
    yield Piece("]}", "form")


def _word(prompt: Prompt, opinion: Opinion) -> str:
    if opinion.polarity is None:
        raise UserError(f"{opinion.by} gives no polarity for {opinion.aspect.term!r}")
    return prompt.labels[opinion.polarity]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
